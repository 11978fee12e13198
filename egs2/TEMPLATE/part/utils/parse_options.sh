# shellcheck shell=bash
# Sourced with "$@" after a script has set its defaults: `--some-name VALUE` (or --some_name, or
# --some-name=VALUE) sets the variable some_name, which must exist. Options end at the first word that
# does not begin with `--`, or after a lone `--`; what is left is in "$@". `--config FILE` sources a
# file of assignments where it stands; a variable whose default is true or false takes nothing else.
# --help prints $help_message.

while [ $# -gt 0 ]; do
    case "$1" in
        --help | -h)
            printf '%s\n' "${help_message:-$0: no help}"
            exit 0
            ;;
        --)
            shift
            break
            ;;
        --?*)
            _po_name="${1#--}"
            if [[ "${_po_name}" == *=* ]]; then
                _po_value="${_po_name#*=}"
                _po_name="${_po_name%%=*}"
                shift
            elif [ $# -ge 2 ]; then
                _po_value="$2"
                shift 2
            else
                echo "$0: error: the option $1 needs a value" >&2
                exit 2
            fi
            _po_name="${_po_name//-/_}"
            if [ "${_po_name}" = config ] && [ -z "${config+set}" ]; then
                if [ ! -r "${_po_value}" ]; then
                    echo "$0: error: --config ${_po_value}: no such file" >&2
                    exit 2
                fi
                # shellcheck disable=SC1090
                . "${_po_value}"
                continue
            fi
            if ! [[ "${_po_name}" =~ ^[a-z][a-z0-9_]*$ ]] || [ -z "${!_po_name+set}" ]; then
                echo "$0: error: unknown option --${_po_name} (see $0 --help)" >&2
                exit 2
            fi
            case "${!_po_name}" in
                true | false)
                    if [ "${_po_value}" != true ] && [ "${_po_value}" != false ]; then
                        echo "$0: error: --${_po_name} must be true or false: ${_po_value}" >&2
                        exit 2
                    fi
                    ;;
            esac
            printf -v "${_po_name}" '%s' "${_po_value}"
            ;;
        *) break ;;
    esac
done
unset _po_name _po_value
true
