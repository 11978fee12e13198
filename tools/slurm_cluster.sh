#!/usr/bin/env bash
# A Slurm cluster on this machine, for trying and testing what is submitted to one.
case "${BASH_VERSION-}:${SHELLOPTS-}" in # this must be understood by every shell
    :* | [1-3].* | 4.[0-3].* | *posix*)
        echo "$0: error: a script for bash 4.4 or newer; start it by its name (./NAME), not with sh or zsh" >&2
        exit 1
        ;;
esac

set -euo pipefail

dir="${TMPDIR:-/tmp}/slurm_cluster_$(id -u)"
nodes=2
cpus=2
memory=8000
help_message="Usage: $0 start|stop|status|env [options]

A Slurm cluster of a few nodes, all of them on this machine, which listen on the loopback alone. It needs
Debian's packages slurm-wlm and munge (apt-get install --no-install-recommends slurm-wlm munge); no root.
Jobs of the partition urgent take the places of those of the default one, which go back into the queue.

  start    start it, unless it runs, and wait until all nodes are idle
  stop     stop it and all its jobs, and remove DIR
  status   sinfo and squeue
  env      print what a shell needs to use it: eval \"\$($0 env)\"

  --dir DIR    where its state and logs are [${dir}]
  --nodes N    n1, n2, … [${nodes}]
  --cpus N     of each node, however many the machine has [${cpus}]
  --memory MB  of each node; not enforced [${memory}]"

fail() {
    echo "slurm_cluster.sh: error: $*" >&2
    exit 1
}

action="${1-}"
case "${action}" in
    start | stop | status | env) shift ;;
    -h | --help | help)
        echo "${help_message}"
        exit 0
        ;;
    *) fail "start, stop, status or env? See --help" ;;
esac
while [ $# -gt 0 ]; do
    case "$1" in
        --dir | --nodes | --cpus | --memory)
            [ $# -gt 1 ] || fail "$1: a value is missing"
            declare "${1#--}=$2"
            shift 2
            ;;
        -h | --help)
            echo "${help_message}"
            exit 0
            ;;
        *) fail "unknown option $1; see --help" ;;
    esac
done
for name in nodes cpus memory; do
    [[ "${!name}" =~ ^[1-9][0-9]{0,5}$ ]] || fail "--${name}: must be a number above 0: ${!name}"
done
case "${dir}" in
    /*) ;;
    *) dir="${PWD}/${dir}" ;;
esac
[[ "${dir}" =~ ^[A-Za-z0-9/._+-]+$ ]] || fail "--dir: Slurm takes no such path: ${dir}"
export SLURM_CONF="${dir}/slurm.conf"
PATH="${PATH}:/usr/sbin:/sbin"
ours="${dir}/.slurm_cluster" # only such a directory is ever removed

is_running() { # PIDFILE: whether its process is a daemon, and not another that has got its number
    [ -s "$1" ] && grep -qsE '^(slurmctld|slurmd|munged)$' "/proc/$(cat "$1")/comm"
}

end() { # PIDFILE SECONDS: ask a daemon to end, and make it
    is_running "$1" || return 0
    local pid
    pid="$(cat "$1")"
    kill "${pid}" 2>/dev/null || true
    for ((i = 0; i < 10 * $2; i++)); do
        kill -0 "${pid}" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 "${pid}" 2>/dev/null || true
}

free_ports() { # N
    python3 -c 'import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for each in sockets: each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in sockets))' "$1"
}

write_conf() {
    local ports host n
    read -r -a ports <<<"$(free_ports $((nodes + 1)))"
    host="$(hostname -s)"
    {
        cat <<END
ClusterName=local
SlurmctldHost=${host}(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=${dir}/munge/munge.socket
CommunicationParameters=NoAddrCache,NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=${dir}/state
SlurmctldPidFile=${dir}/run/slurmctld.pid
SlurmctldLogFile=${dir}/log/slurmctld.log
SlurmdPidFile=${dir}/run/slurmd.%n.pid
SlurmdLogFile=${dir}/log/slurmd.%n.log
SlurmdSpoolDir=${dir}/spool/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=${dir}/log/jobcomp.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
ReturnToService=2
SlurmdParameters=config_overrides
MpiDefault=none
KillWait=10
MinJobAge=300
END
        for ((n = 1; n <= nodes; n++)); do
            echo "NodeName=n${n} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${ports[n]} CPUs=${cpus}" \
                "RealMemory=${memory}"
        done
        echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP"
        echo "PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP"
    } >"${SLURM_CONF}"
}

start() {
    local name n
    for name in munged slurmctld slurmd sbatch; do
        command -v "${name}" >/dev/null ||
            fail "${name} is missing; on Debian: apt-get install --no-install-recommends slurm-wlm munge"
    done
    if is_running "${dir}/run/slurmctld.pid"; then
        echo "slurm_cluster.sh: runs already in ${dir}"
        return
    fi
    stop
    mkdir -p "${dir}"
    chmod 700 "${dir}"
    : >"${ours}"
    mkdir "${dir}"/{munge,run,log,state,spool}
    chmod 700 "${dir}/munge" # else munged refuses it
    head -c 128 /dev/urandom >"${dir}/munge/munge.key"
    chmod 400 "${dir}/munge/munge.key"
    write_conf
    munged --force --key-file="${dir}/munge/munge.key" --socket="${dir}/munge/munge.socket" \
        --pid-file="${dir}/run/munged.pid" --log-file="${dir}/log/munged.log" \
        --seed-file="${dir}/munge/seed" 2>>"${dir}/log/munged.log" || fail "munged: see ${dir}/log/munged.log"
    # what is started here must not hold the caller's pipes open
    slurmctld -f "${SLURM_CONF}" </dev/null >"${dir}/log/start.log" 2>&1 || fail "slurmctld: see ${dir}/log"
    for ((n = 1; n <= nodes; n++)); do
        mkdir -p "${dir}/spool/n${n}"
        slurmd -N "n${n}" -f "${SLURM_CONF}" </dev/null >>"${dir}/log/start.log" 2>&1 ||
            fail "slurmd n${n}: see ${dir}/log"
    done
    for ((i = 0; i < 300; i++)); do
        if [ "$(sinfo -h -N -p main -o %T 2>/dev/null | grep -c '^idle$')" -eq "${nodes}" ]; then
            echo "slurm_cluster.sh: ${nodes} nodes are idle; to use them: eval \"\$($0 env --dir ${dir})\""
            return
        fi
        sleep 0.1
    done
    tail -n 3 "${dir}"/log/*.log >&2
    fail "the nodes are not idle after 30 s; see ${dir}/log"
}

stop() {
    [ -d "${dir}" ] || return 0
    [ -e "${ours}" ] || [ -z "$(ls -A "${dir}")" ] || fail "${dir}: is no cluster of this script's"
    if is_running "${dir}/run/slurmctld.pid"; then
        scancel --quiet --state=PENDING --user="$(id -un)" 2>/dev/null || true
        scancel --quiet --user="$(id -un)" 2>/dev/null || true
        for ((i = 0; i < 150; i++)); do # KillWait, and a little
            [ -n "$(squeue -h -o %i 2>/dev/null)" ] || break
            sleep 0.1
        done
    fi
    local file
    for file in "${dir}"/run/slurmd.*.pid "${dir}/run/slurmctld.pid" "${dir}/run/munged.pid"; do
        end "${file}" 10
    done
    rm -rf "${dir}"
}

case "${action}" in
    start) start ;;
    stop) stop ;;
    status)
        is_running "${dir}/run/slurmctld.pid" || fail "no cluster runs in ${dir}; start it with: $0 start"
        sinfo
        squeue
        ;;
    env) echo "export SLURM_CONF='${SLURM_CONF}'" ;;
esac
