# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# For the fetch scripts to source: Debian packages into a folder, checked by apt against the archive's
# signed indexes, without root and without touching the system's own apt and dpkg.
#
# Data model. $CACHE is the folder that is kept between runs. What a script makes, it makes in a folder
# $CACHE/NAME.new that is renamed to $CACHE/NAME when it is whole: what has its final name is complete.
# apt's own state lives in $CACHE/apt-NAME meanwhile, and goes when the script ends.

CACHE=$(realpath -m "${UMDEV_GUEST_CACHE:-$(dirname "${BASH_SOURCE[0]}")/../../build/guest-cache}")
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || die "needs $tool: install its package"
    done
}

# One script at a time, until it ends.
lock_cache() {
    mkdir -p "$CACHE"
    exec 9>"$CACHE/lock"
    flock 9
}

# The URIs of the archives that /etc/apt names for this Debian's release, one a line; both of apt's
# formats. UMDEV_DEBIAN_MIRROR, where it is set, is the answer.
debian_mirrors() {
    local release files=()
    if [ -n "${UMDEV_DEBIAN_MIRROR:-}" ]; then
        echo "$UMDEV_DEBIAN_MIRROR"
        return
    fi
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    mapfile -t files < <(find /etc/apt/sources.list /etc/apt/sources.list.d -type f \
        \( -name '*.list' -o -name '*.sources' \) 2>/dev/null)
    [ ${#files[@]} -gt 0 ] || return 0
    awk -v release="$release" '
        function flush(  i, n, m, j, u, s) {
            n = split(field["uris"], u, " "); m = split(field["suites"], s, " ")
            for (j = 1; j <= m; j++) for (i = 1; i <= n; i++) if (s[j] == release) print u[i]
            split("", field); name = ""
        }
        FNR == 1 { flush() }
        /^[ \t]*#/ { next }
        FILENAME ~ /\.list$/ {
            sub(/\[[^]]*\]/, "")
            if ($1 == "deb" && $3 == release) print $2
            next
        }
        /^[ \t]*$/ { flush(); next }
        /^[ \t]/ { field[name] = field[name] " " $0; next }
        { name = tolower(substr($0, 1, index($0, ":") - 1)); field[name] = substr($0, index($0, ":") + 1) }
        END { flush() }' "${files[@]}" | sed 's,/*$,,' | awk '!seen[$0]++'
}

# apt_begin NAME SUITE…: a private apt that knows these suites and nothing as installed.
apt_begin() {
    local mirror suite
    APT_STATE=$CACHE/apt-$1
    shift
    need apt-get apt-cache dpkg-deb tar
    [ -r "$KEYRING" ] || die "no $KEYRING: install debian-archive-keyring"
    mirror=$(debian_mirrors | head -n 1)
    [ -n "$mirror" ] || die "no Debian archive in /etc/apt: give its URI in UMDEV_DEBIAN_MIRROR"
    rm -rf "$APT_STATE"
    mkdir -p "$APT_STATE"/{lists/partial,cache/archives/partial,none.d}
    trap 'rm -rf "$APT_STATE"' EXIT
    : >"$APT_STATE/status"
    for suite in "$@"; do
        echo "deb [signed-by=$KEYRING] $mirror $suite main"
    done >"$APT_STATE/sources.list"
    # On top of the system's configuration: a proxy set there serves us too.
    cat >"$APT_STATE/apt.conf" <<CONF
Dir::State "$APT_STATE";
Dir::State::lists "$APT_STATE/lists";
Dir::State::status "$APT_STATE/status";
Dir::Cache "$APT_STATE/cache";
Dir::Etc::sourcelist "$APT_STATE/sources.list";
Dir::Etc::sourceparts "$APT_STATE/none.d";
Dir::Etc::preferences "$APT_STATE/none";
Dir::Etc::preferencesparts "$APT_STATE/none.d";
Dir::Log "$APT_STATE";
APT::Architecture "amd64";
APT::Architectures "amd64";
APT::Install-Recommends "0";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Debug::NoLocking "1";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
CONF
    export APT_CONFIG=$APT_STATE/apt.conf LC_ALL=C
    apt-get update -qq --error-on=any ||
        die "can't read the indexes of $* from $mirror (UMDEV_DEBIAN_MIRROR names another archive)"
}

# apt_download FOLDER PACKAGE…: the .deb files of just these packages.
apt_download() {
    mkdir -p "$1"
    (cd "$1" && shift && apt-get download -qq "$@") || die "can't fetch ${*:2}"
}

# apt_download_all [OPTION…] PACKAGE…: with all they depend on. Prints the folder they are in.
apt_download_all() {
    apt-get install -qq -y --download-only "$@" >/dev/null || die "can't fetch $* with what it depends on"
    echo "$APT_STATE/cache/archives"
}

# unpack FOLDER FILE…: the files of .deb packages, as one system with a merged /usr.
unpack() {
    local root=$1 link deb
    shift
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64}
    for link in bin sbin lib lib64; do
        [ -e "$root/$link" ] || ln -s "usr/$link" "$root/$link"
    done
    for deb in "$@"; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --no-same-owner --keep-directory-symlink \
            --exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale ||
            die "can't unpack $(basename "$deb")"
    done
}

# install_folder NAME: $CACHE/NAME.new is whole.
install_folder() {
    rm -rf "${CACHE:?}/$1"
    mv "$CACHE/$1.new" "$CACHE/$1"
}
