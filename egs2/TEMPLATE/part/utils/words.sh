# shellcheck shell=bash disable=SC2034
# Sourced: options within an option, as in --part_args "--lr 1e-4 --name 'two words'".

split_words() { # STRING: its words into the array `words`, with a shell's quotes honoured
    mapfile -d '' -t words < <("${python:-python3}" -m espnet_part.recipe.words "$1")
    if ! wait "$!"; then
        echo "${0##*/}: error: a quote without its partner in: $1" >&2
        exit 1
    fi
}

quote_words() { # WORD ...: one string that split_words splits again (printf %q depends on the locale)
    local word
    for word in "$@"; do printf "'%s' " "${word//\'/\'\\\'\'}"; done
}
