# SPDX-License-Identifier: BSD-3-Clause
# Completion of the command umdev for bash. What a daemon has (types, devices, parents) is asked of
# it, with the --dir or --control that is on the line already.

# Members of the JSON array that `umdev "$@" --json` prints, one a line.
_umdev_members() {
    local member=$1
    shift
    command umdev "$@" --json 2>/dev/null |
        sed -n "s/^ *\"$member\": \"\([^\"]*\)\".*/\1/p" | sort -u
}

# What names the daemon, of the words on the line.
_umdev_where() {
    local i
    where=()
    for ((i = 2; i < ${#words[@]} - 1; i++)); do
        case ${words[i]} in
            -d | --dir | -c | --control)
                [[ $i -lt $((cword - 1)) ]] && where=("${words[i]}" "${words[i + 1]/#\~/$HOME}")
                ;;
        esac
    done
}

_umdev_words() {
    COMPREPLY=($(compgen -W "$1" -- "$cur"))
}

_umdev_files() {
    local IFS=$'\n'
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen "${1:--f}" -- "$cur"))
}

# Names of drivers, and files.
_umdev_drivers() {
    local folder IFS=$' \t\n'
    local -a names=()
    while read -r folder; do
        names+=($(compgen -G "$folder/umdev-*.so" | sed 's|.*/umdev-||; s|\.so$||'))
    done < <(printf '%s\n' "${UMDEV_DRIVER_PATH:-}" | tr ':' '\n'
        pkg-config --variable=driverdir umdev 2>/dev/null)
    case $cur in
        */*) _umdev_files ;;
        *) _umdev_words "${names[*]} vgpu tty" ;;
    esac
}

_umdev_options() {
    local asking="--dir --control --json --help"
    case $command in
        run) echo "--socket --run --control --uuid --mode --trust-client --verbose --quiet --help" ;;
        daemon) echo "--parent --dir --state --sysfs --mode --group --trust-clients --verbose --quiet --help" ;;
        types | list | show | remove | screenshot) echo "$asking" ;;
        create) echo "$asking --uuid --parent --persist" ;;
        stats) echo "$asking --prometheus" ;;
        top) echo "$asking --interval --batch --count" ;;
        cdi) echo "$asking --output" ;;
        probe) echo "--json --timeout --help" ;;
        demo) echo "--output --help" ;;
        bench) echo "--output --json --quick --help" ;;
    esac
}

# The value of the option before the cursor. 1: that takes none.
_umdev_value() {
    case $prev in
        -d | --dir | --state | --sysfs) _umdev_files -d ;;
        -c | --control | -s | --socket | -o | --output) _umdev_files ;;
        -g | --group) COMPREPLY=($(compgen -g -- "$cur")) ;;
        -m | --mode) _umdev_words "600 660 666" ;;
        -p | --parent)
            case $command in
                daemon) _umdev_drivers ;;
                create) _umdev_words "$(_umdev_members parent types "${where[@]}")" ;;
                *) return 1 ;;
            esac
            ;;
        -r | --run) COMPREPLY=($(compgen -c -- "$cur")) ;;
        -u | --uuid | -i | --interval | -n | --count | --timeout) ;;
        *) return 1 ;;
    esac
    return 0
}

_umdev_argument() {
    case $command in
        run) [[ $cword -eq 2 ]] && _umdev_drivers ;;
        create) _umdev_words "$(_umdev_members name types "${where[@]}")" ;;
        show | stats | remove | cdi) _umdev_words "$(_umdev_members uuid list "${where[@]}")" ;;
        screenshot)
            _umdev_words "$(_umdev_members uuid list "${where[@]}")"
            [[ ${#COMPREPLY[@]} -eq 0 ]] && _umdev_files
            ;;
        probe | demo) _umdev_files ;;
        help) _umdev_words "$(_umdev_commands)" ;;
    esac
}

# As `umdev --help` lists them.
_umdev_commands() {
    command umdev --help 2>/dev/null | sed -n 's/^  \([a-z]\+\) .*/\1/p'
}

_umdev() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local -a words=("${COMP_WORDS[@]}") where=()
    local cword=$COMP_CWORD command=${COMP_WORDS[1]-}

    COMPREPLY=()
    if [[ $cword -le 1 ]]; then
        _umdev_words "$(_umdev_commands) help --help --version"
        return
    fi
    _umdev_where
    [[ $cword -gt 2 ]] && _umdev_value && return
    case $cur in
        -*) _umdev_words "$(_umdev_options)" ;;
        *) _umdev_argument ;;
    esac
}

complete -F _umdev umdev
