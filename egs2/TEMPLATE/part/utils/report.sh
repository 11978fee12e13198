#!/usr/bin/env bash
# Writes RESULTS.md, results.json and figures of all systems that have been scored:
#
#   utils/report.sh PYTHON EXPDIR
#
# The main system stands first. Of systems of part.sh the same decoding is shown as of the main one;
# of others (stock ESPnet models, and what was scored by hand) every decoding that has a score.json.
# part.sh leaves in EXPDIR/.done/report, one a line: the main system, the name of its decoding, the
# heading.
set -euo pipefail

python="$1" expdir="$2"
main_tag="" decode_tag="" title="RESULTS"
if [ -f "${expdir}/.done/report" ]; then
    { read -r main_tag && read -r decode_tag && read -r title; } <"${expdir}/.done/report"
fi

options=()
for dir in "${expdir}/${main_tag:-/}" "${expdir}"/*; do
    tag=$(basename -- "${dir}")
    if [ "${tag}" = "${main_tag}" ] && [ ${#options[@]} -gt 0 ]; then continue; fi
    own=false chain=
    for n in 1 2 3; do
        if [ -d "${dir}/stage${n}" ]; then own=true; fi
        if [ -f "${dir}/stage${n}/history.jsonl" ]; then chain+=",${dir}/stage${n}"; fi
    done
    if "${own}"; then decodings=("${dir}/${decode_tag}"); else decodings=("${dir}"/decode*); fi
    for decoding in "${decodings[@]}"; do
        if ! compgen -G "${decoding}/*/score.json" >/dev/null; then continue; fi
        name="${tag}"
        if [ ${#decodings[@]} -gt 1 ]; then name+="/$(basename -- "${decoding}")"; fi
        options+=(--system "${name}=${decoding}")
        if [ -n "${chain}" ]; then options+=(--train "${name}=${chain#,}"); fi
    done
    # what a system has seen, where it says so
    if [ -f "${dir}/note.md" ]; then options+=(--note "$(cat "${dir}/note.md")"); fi
done
if [ ${#options[@]} -eq 0 ]; then
    echo "report.sh: error: ${expdir}: nothing has been scored" >&2
    exit 1
fi
if [ -n "${main_tag}" ] && [ -f "${expdir}/${main_tag}/stage_times.jsonl" ]; then
    options+=(--stage_times "${expdir}/${main_tag}/stage_times.jsonl")
fi

# Systems that are trained side by side share the report: one writes it at a time.
lock=()
if command -v flock >/dev/null; then lock=(flock "${expdir}/.report.lock"); fi
${lock[@]+"${lock[@]}"} "${python}" -m espnet_part.bin.part_report --expdir "${expdir}" "${options[@]}" --title "${title}"
