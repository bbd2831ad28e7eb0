#!/bin/sh
# A real Slurm for tests on this machine alone: no systemd, no packaged service, loopback only.
#
#   tests/slurm.sh install           Debian's packages, if this is root; else says which
#   tests/slurm.sh up DIR [NODES]    then: export SLURM_CONF=DIR/slurm.conf
#   tests/slurm.sh node DIR NAME     starts a node again that was killed
#   tests/slurm.sh down DIR          ends what `up` started
set -eu
PACKAGES="slurm-wlm munge"
PATH=$PATH:/usr/sbin:/sbin

install() {
    command -v slurmctld >/dev/null && command -v munged >/dev/null && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "no Slurm here: apt-get install -y --no-install-recommends $PACKAGES" >&2
        return
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $PACKAGES >/dev/null
}

up() {
    dir=$(realpath -m "$1") nodes=${2:-2} host=$(hostname -s) port=$((20000 + $$ % 20000))
    mkdir -p "$dir/state" "$dir/munge"
    chmod 755 "$dir" && chmod 700 "$dir/munge"
    (umask 077 && head -c 1024 /dev/urandom >"$dir/munge/key")
    cat >"$dir/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/%n.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdTimeout=10
KillWait=5
SchedulerParameters=bf_interval=5,sched_interval=5,batch_sched_delay=1
NodeName=n[1-$nodes] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + nodes))] CPUs=2 RealMemory=8000
PartitionName=main Nodes=ALL Default=YES MaxTime=60 PriorityTier=10 PreemptMode=OFF
PartitionName=low Nodes=ALL MaxTime=60 PriorityTier=1
CONF
    munged --socket="$dir/munge/socket" --key-file="$dir/munge/key" --pid-file="$dir/munged.pid" \
        --log-file="$dir/munge/log" --seed-file="$dir/munge/seed" --force
    export SLURM_CONF="$dir/slurm.conf"
    slurmctld
    for index in $(seq "$nodes"); do
        mkdir -p "$dir/spool-n$index"
        slurmd -N "n$index"
    done
    for _ in $(seq 300); do
        [ "$(sinfo -h -t idle -o %D 2>/dev/null | head -1)" = "$nodes" ] && return
        sleep 0.1
    done
    tail -n 20 "$dir"/*.log >&2
    return 1
}

down() {
    dir=$(realpath "$1")
    SLURM_CONF="$dir/slurm.conf" scancel --user "$(id -un)" 2>/dev/null || true
    for file in "$dir"/n*.pid "$dir/slurmctld.pid" "$dir/munged.pid"; do
        [ -s "$file" ] && kill "$(cat "$file")" 2>/dev/null || true
    done
}

case ${1:-} in
install) install ;;
up) shift && up "$@" ;;
node) SLURM_CONF=$(realpath "$2")/slurm.conf slurmd -N "$3" ;;
down) down "$2" ;;
*) sed -n '2,8p' "$0" >&2 && exit 2 ;;
esac
