# SPDX-License-Identifier: BSD-3-Clause
"""
Prometheus' text format, version 0.0.4, read strictly: a metric's HELP and TYPE come once, before its
samples, which stand together; names and labels are as the format has them; no sample comes twice.
"""

import re
from dataclasses import dataclass, field

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\"n])*)"(,|$)')


@dataclass
class Metric:
    help: str
    type: str = ""
    samples: dict = field(default_factory=dict)

    def value(self, **labels):
        return self.samples[tuple(sorted(labels.items()))]


def parse_labels(text):
    labels, at = {}, 0
    while at < len(text):
        label = LABEL.match(text, at)
        assert label and label[1] not in labels, text
        labels[label[1]] = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), label[2])
        at = label.end()
    return labels


def parse(text):
    metrics, current = {}, None
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, current, words = line.split(" ", 3)
            assert NAME.fullmatch(current) and current not in metrics, line
            metrics[current] = Metric(words)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == current and not metrics[name].type and not metrics[name].samples, line
            assert kind in ("counter", "gauge"), line
            metrics[name].type = kind
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample and sample[1] == current and metrics[current].type, line
            labels = tuple(sorted(parse_labels(sample[2] or "").items()))
            assert labels not in metrics[current].samples, line
            metrics[current].samples[labels] = float(sample[3])
    return metrics
