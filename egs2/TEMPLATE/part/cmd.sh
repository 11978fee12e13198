# shellcheck shell=bash disable=SC2034
# How jobs are started. Sourced by part.sh.
#
#   run.pl JOB=1:4 some/where.JOB.log command JOB
#
# starts four jobs with a log file each; slurm.pl, queue.pl, pbs.pl and ssh.pl take the same command
# line and hand the jobs to a cluster. run.pl and slurm.pl come with this template; the others are those
# of an ESPnet or Kaldi checkout, found when MAIN_ROOT (see path.sh) points to one.
#
#   prep_cmd     stages 1 and 4, which may fetch from the network; by default train_cmd
#   train_cmd    formatting, filtering, statistics, scoring, packing
#   cuda_cmd     training, and whatever else uses GPUs
#   decode_cmd   decoding on CPUs
#
# Choose the backend here, for all recipes that link to this file, or in the environment:
#   CMD_BACKEND=slurm ./run.sh

cmd_backend="${CMD_BACKEND:-local}"

case "${cmd_backend}" in
    local)
        train_cmd="run.pl"
        cuda_cmd="run.pl"
        decode_cmd="run.pl"
        ;;
    slurm) # partitions and limits: conf/slurm.local.yaml (conf/slurm.yaml explains it)
        # prep_cmd="run.pl" # where computing nodes have no network
        train_cmd="utils/slurm.pl --kind cpu"
        cuda_cmd="utils/slurm.pl --kind train"
        decode_cmd="utils/slurm.pl --kind decode"
        ;;
    sge) # queues: conf/queue.conf
        train_cmd="queue.pl --config conf/queue.conf"
        cuda_cmd="queue.pl --config conf/queue.conf"
        decode_cmd="queue.pl --config conf/queue.conf"
        ;;
    pbs) # queues: conf/pbs.conf
        train_cmd="pbs.pl --config conf/pbs.conf"
        cuda_cmd="pbs.pl --config conf/pbs.conf"
        decode_cmd="pbs.pl --config conf/pbs.conf"
        ;;
    ssh) # one host a line in .queue/machines
        train_cmd="ssh.pl"
        cuda_cmd="ssh.pl"
        decode_cmd="ssh.pl"
        ;;
    *)
        echo "cmd.sh: error: unknown cmd_backend ${cmd_backend} (local, slurm, sge, pbs, ssh)" >&2
        return 1
        ;;
esac
