# shellcheck shell=bash disable=SC2154
# Sourced: the options of part.sh and baseline.sh, which each of them lists with defaults and a word of
# explanation between its first heading (# General) and its help_message.

option_names() { # SCRIPT
    awk '
        /^# (General|Data|System|Models|Decoding|Packing)/ { on = 1 }
        /^help_message/ { exit }
        on && /^[a-z_]+=/ { print substr($0, 1, index($0, "=") - 1) }' "$1"
}

option_help() { # SCRIPT: a line each
    awk '
        /^# (General|Data|System|Models|Decoding|Packing)/ { printf "  %s\n", $0; on = 1; next }
        /^help_message/ { exit }
        on && /^[a-z_]+=/ {
            eq = index($0, "="); hash = index($0, " # ")
            value = substr($0, eq + 1, hash - eq - 1); gsub(/^[ "]+|[ "]+$/, "", value)
            printf "    --%-24s %s%s\n", substr($0, 1, eq - 1), substr($0, hash + 3), \
                (value == "" ? "" : " [" value "]")
        }' "$1"
}

die() { # MESSAGE: end with one clear line
    echo "${0##*/}: error: $*" >&2
    exit 1
}

hand_over() { # MODULE SCRIPT ARGUMENT ...: become the program, with the options that SCRIPT has set
    local module="$1" name words=()
    for name in cmd.sh path.sh; do
        [ -e "${name}" ] || die "${name} is missing; run this from a recipe's directory (egs2/CORPUS/part)"
    done
    [ $# -eq 2 ] || die "no positional arguments are expected: ${*:3}"
    for name in $(option_names "$2"); do words+=("--${name}" "${!name}"); done
    # shellcheck source=../path.sh
    . ./path.sh
    # shellcheck source=../cmd.sh
    . ./cmd.sh
    for name in prep_cmd train_cmd cuda_cmd decode_cmd cmd_backend; do words+=("--${name}" "${!name:-}"); done
    command -v "${python}" >/dev/null || die "--python ${python}: no such command"
    "${python}" -c 'import espnet_part' 2>/dev/null ||
        die "${python} has no espnet_part; run tools/setup.sh, or activate the environment that has it"
    exec "${python}" -m "${module}" --command "${called}" "${words[@]}"
}
