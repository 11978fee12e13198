# shellcheck shell=bash disable=SC2034
# Where the corpora lie on this machine. Write the directories here, or set the variables in the
# environment, which wins: COMMONVOICE=/data/cv-corpus-15.0-2023-09-08 ./run.sh
# What is said of a variable here is also what utils/check_corpus.sh says when it is missing.

# MINI_MULTILINGUAL: the embedded corpus is made on the spot; nothing is to be set.
MINI_MULTILINGUAL=downloads

# COMMONVOICE: a release of Common Voice (CC0-1.0), e.g. cv-corpus-15.0-2023-09-08, or the directory
# above it, with the languages as directories or as the archives that are given out:
#   $COMMONVOICE/<locale>/{clips/*.mp3,train.tsv,dev.tsv,test.tsv}   (en zh-CN zh-HK yue ja ko de …)
#   $COMMONVOICE/cv-corpus-15.0-2023-09-08-<locale>.tar.gz, or <locale>.tar.gz
# From https://commonvoice.mozilla.org/datasets, with an account.
COMMONVOICE="${COMMONVOICE:-}"

# COMMONVOICE4: the release that CoVoST 2 was made on (CC0-1.0), cv-corpus-4-2019-12-10, as above and
# with validated.tsv. A later release serves, too; the clips that it has lost are counted.
# From https://commonvoice.mozilla.org/datasets, with an account.
COMMONVOICE4="${COMMONVOICE4:-}"

# COVOST2: the tables of CoVoST 2 (CC0-1.0), unpacked or not:
#   $COVOST2/covost_v2.<source>_<target>.tsv[.tar.gz]   (fr_en, en_zh-CN …; also in $COVOST2/<source>)
# From https://github.com/facebookresearch/covost. Its audio is Common Voice's: see COMMONVOICE4.
COVOST2="${COVOST2:-}"

# FLEURS: the corpus (CC-BY-4.0) with the languages as directories, audio unpacked or not:
#   $FLEURS/<code>/{train,dev,test}.tsv, <code>/audio/{train,dev,test}/*.wav or <split>.tar.gz
#   (en_us cmn_hans_cn ja_jp ko_kr yue_hant_hk de_de fr_fr ru_ru es_419 it_it …)
# From https://huggingface.co/datasets/google/fleurs (its directory data).
FLEURS="${FLEURS:-}"

# WENETSPEECH: the corpus (CC BY 4.0, for research; by application):
#   $WENETSPEECH/WenetSpeech.json, audio/{train,dev,test_net,test_meeting}/…/*.opus
# From https://wenet.org.cn/WenetSpeech, with a password that is given on request.
WENETSPEECH="${WENETSPEECH:-}"
