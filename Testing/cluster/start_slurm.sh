#!/bin/sh
# A SLURM cluster of one node on this machine, for tests: Debian's slurm-wlm and munge, no systemd, no
# accounting. Needs root. Usage: start_slurm.sh FOLDER (for logs and state). Does nothing where a
# controller answers already.
set -eu
FOLDER=$(realpath -m "$1")
HOST=$(hostname -s)

scontrol ping 2>/dev/null | grep -q "is UP" && exit 0
CONF=/etc/slurm/slurm.conf
if [ -e "$CONF" ] && ! grep -q "^ClusterName=rtpipeline$" "$CONF"; then
  echo "start_slurm.sh: $CONF belongs to another cluster, whose controller does not answer" >&2; exit 2
fi
[ "$(id -u)" = 0 ] || { echo "start_slurm.sh: needs root to install and start SLURM" >&2; exit 2; }
if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
  command -v apt-get >/dev/null || { echo "start_slurm.sh: needs Debian or Ubuntu" >&2; exit 2; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge
fi
mkdir -p "$FOLDER/state" "$FOLDER/spool"
if ! munge -n >/dev/null 2>&1; then
  install -d -o munge -g munge -m 755 /run/munge
  setpriv --reuid munge --regid munge --clear-groups /usr/sbin/munged
fi
MEMORY=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
mkdir -p /etc/slurm
cat >"$CONF" <<CONF
ClusterName=rtpipeline
SlurmctldHost=$HOST(127.0.0.1)
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$FOLDER/state
SlurmdSpoolDir=$FOLDER/spool
SlurmctldLogFile=$FOLDER/slurmctld.log
SlurmdLogFile=$FOLDER/slurmd.log
SlurmctldPidFile=$FOLDER/slurmctld.pid
SlurmdPidFile=$FOLDER/slurmd.pid
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
ReturnToService=2
KillWait=5
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$MEMORY
PartitionName=main Nodes=$HOST Default=YES MaxTime=INFINITE State=UP
CONF
slurmctld -c
slurmd
for _ in $(seq 30); do
  srun --immediate=5 true >/dev/null 2>&1 && exit 0
  sleep 1
done
echo "start_slurm.sh: no node answered; see $FOLDER/slurmctld.log and $FOLDER/slurmd.log" >&2
exit 1
