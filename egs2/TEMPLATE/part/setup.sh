#!/usr/bin/env bash
# Makes a new recipe directory from this template.
case "${BASH_VERSION-}:${SHELLOPTS-}" in # this must be understood by every shell
    :* | [1-3].* | 4.[0-3].* | *posix*)
        echo "$0: error: a script for bash 4.4 or newer; start it by its name (./NAME), not with sh or zsh" >&2
        exit 1
        ;;
esac

set -euo pipefail

if [ $# -ne 1 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    cat <<'EOF'
Usage: egs2/TEMPLATE/part/setup.sh egs2/CORPUS/part

Makes the directory with links to what all recipes share; put a file of your own in place of a
link (of cmd.sh, say) where the recipe differs. Then write local/data.sh (makes data/train,
data/valid and the test sets), run.sh (the corpus' options) and conf/part (how long each phase is).
What is there already is kept.
EOF
    if [ $# -eq 1 ]; then exit 0; else exit 2; fi
fi

template="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)"
recipe="$(realpath -m -- "$1")"
egs2="$(dirname -- "$(dirname -- "${template}")")"
if [ "$(dirname -- "$(dirname -- "${recipe}")")" != "${egs2}" ]; then
    echo "setup.sh: error: must be a directory egs2/CORPUS/part beside the template: $1" >&2
    exit 2
fi
mkdir -p "${recipe}/local" "${recipe}/conf"

for name in part.sh baseline.sh path.sh cmd.sh db.sh utils; do
    [ -e "${recipe}/${name}" ] || ln -s "../../TEMPLATE/part/${name}" "${recipe}/${name}"
done
# Configurations that all recipes share; a recipe's own lie beside the links.
for name in "${egs2}"/../conf/*; do
    name=$(basename -- "${name}")
    if [ "${name}" = system ]; then continue; fi
    [ -e "${recipe}/conf/${name}" ] || ln -s "../../../../conf/${name}" "${recipe}/conf/${name}"
done
# Its own PART, and the systems that are a few words about it.
mkdir -p "${recipe}/conf/system" "${recipe}/conf/part"
[ -e "${recipe}/conf/system/part" ] ||
    ln -s ../../../../../conf/system/part "${recipe}/conf/system/part"
for name in "${egs2}"/../conf/system/part/stage*.yaml; do
    name=$(basename -- "${name}")
    [ -e "${recipe}/conf/part/${name}" ] ||
        printf 'base: ../system/part/%s\n' "${name}" >"${recipe}/conf/part/${name}"
done
for name in "${egs2}"/../conf/system/*; do
    name=$(basename -- "${name}")
    [ -e "${recipe}/conf/${name}" ] || ln -s "../../../../conf/system/${name}" "${recipe}/conf/${name}"
done

if [ ! -e "${recipe}/local/data.sh" ]; then
    cat >"${recipe}/local/data.sh" <<'EOF'
#!/usr/bin/env bash
# Makes data/train, data/valid and the test sets; see part_validate_data --help for their files.
set -euo pipefail

. ./path.sh
. ./db.sh

echo "local/data.sh: error: the data preparation of this corpus is not written yet" >&2
exit 1
EOF
    chmod +x "${recipe}/local/data.sh"
fi
if [ ! -e "${recipe}/run.sh" ]; then
    cat >"${recipe}/run.sh" <<'EOF'
#!/usr/bin/env bash
set -euo pipefail

train_set=train
valid_set=valid
test_sets="test"

exec ./part.sh \
    --train_set "${train_set}" \
    --valid_set "${valid_set}" \
    --test_sets "${test_sets}" \
    --part_config conf/part \
    --model_config conf/model/whisper_small_qwen2.5_0.5b.yaml \
    "$@"
EOF
    chmod +x "${recipe}/run.sh"
fi
echo "setup.sh: ${recipe} is ready: write local/data.sh, then see run.sh and conf/part"
