# shellcheck shell=bash disable=SC2034
# Where the corpora lie on this machine. Sourced by local/data.sh; "downloads" means a directory of
# that name in the recipe, into which local/data.sh downloads what may be downloaded.

MINI_MULTILINGUAL=downloads # made on the spot
COMMONVOICE=downloads
FLEURS=downloads
WENETSPEECH=
COVOST2=downloads
