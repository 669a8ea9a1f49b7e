#!/bin/sh
# A real S3 server on loopback for tests: Ceph's RGW with one monitor and one OSD in memory.
#
#   apt-get install --no-install-recommends radosgw ceph-mon ceph-osd
#   eval "$(tools/s3_server.sh start /tmp/s3)"     sets DINOCELL_S3_ENDPOINT and the keys of its one user
#   pytest packages/dinocell-io/tests/test_s3_server.py
#   tools/s3_server.sh stop /tmp/s3                ends it and removes the folder
#
# Nothing outlives a stop; nothing listens beyond 127.0.0.1. Ports: MON_PORT (13300), S3_PORT (9300).
set -eu
action=${1:-}
folder=${2:-}
if [ -z "$folder" ] || { [ "$action" != start ] && [ "$action" != stop ]; }; then
    echo "usage: $0 start|stop FOLDER" >&2
    exit 2
fi
mon_port=${MON_PORT:-13300}
s3_port=${S3_PORT:-9300}
access_key=dinocelltests
secret_key=dinocell-tests-secret

stop() {
    for name in rgw osd mon; do
        [ -f "$folder/$name.pid" ] || continue
        pid=$(cat "$folder/$name.pid")
        kill "$pid" 2>/dev/null || continue
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            kill -0 "$pid" 2>/dev/null || break
            sleep 1
        done
        kill -9 "$pid" 2>/dev/null || true
    done
    rm -rf "$folder"
}

wait_for() {
    what=$1
    shift
    for _ in $(seq 60); do
        if "$@" >/dev/null 2>&1; then
            return
        fi
        sleep 1
    done
    echo "$what did not come up within 60 s; see $folder/*.log" >&2
    exit 1
}

if [ "$action" = stop ]; then
    stop
    exit
fi
for program in ceph-mon ceph-osd radosgw radosgw-admin ceph ceph-authtool monmaptool; do
    if ! command -v "$program" >/dev/null; then
        echo "$program is not installed; apt-get install --no-install-recommends radosgw ceph-mon ceph-osd" >&2
        exit 1
    fi
done
if [ -e "$folder" ]; then
    echo "$folder exists; expected a new folder, stop the server there first" >&2
    exit 1
fi
mkdir -p "$folder/mon" "$folder/osd" "$folder/rgw"
fsid=$(cat /proc/sys/kernel/random/uuid)
osd_uuid=$(cat /proc/sys/kernel/random/uuid)
conf=$folder/ceph.conf
cat >"$conf" <<CONF
[global]
fsid = $fsid
mon host = v2:127.0.0.1:$mon_port
public addr = 127.0.0.1
cluster addr = 127.0.0.1
# without keys radosgw waits for its configuration until it gives up
auth client required = cephx
keyring = $folder/keyring
run dir = $folder
admin socket =
log file = $folder/\$type.log
pid file =
osd objectstore = memstore
memstore device bytes = 4294967296
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data = $folder/mon
osd data = $folder/osd
[client.rgw]
rgw data = $folder/rgw
rgw frontends = beast endpoint=127.0.0.1:$s3_port
CONF
{
    key() { ceph-authtool "$folder/keyring" "$@"; }
    key --create-keyring --gen-key -n mon. --cap mon 'allow *'
    key --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
    key --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
    key --gen-key -n client.rgw --cap mon 'allow rw' --cap osd 'allow rwx'
    monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon_port]" "$folder/monmap"
    ceph-mon -c "$conf" -i a --mkfs --monmap "$folder/monmap" --keyring "$folder/keyring"
} >"$folder/setup.log" 2>&1
nohup ceph-mon -c "$conf" -f -i a >"$folder/mon.out.log" 2>&1 &
echo $! >"$folder/mon.pid"
wait_for "the monitor" ceph -c "$conf" --connect-timeout 3 mon stat
{
    ceph -c "$conf" osd create "$osd_uuid" 0
    ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$osd_uuid"
    ceph -c "$conf" osd crush add osd.0 1.0 root=default host=loopback
} >>"$folder/setup.log" 2>&1
nohup ceph-osd -c "$conf" -f -i 0 >"$folder/osd.out.log" 2>&1 &
echo $! >"$folder/osd.pid"
wait_for "the OSD" sh -c "ceph -c '$conf' --connect-timeout 3 osd stat | grep -q '1 up'"
nohup radosgw -c "$conf" -f -n client.rgw >"$folder/rgw.out.log" 2>&1 &
echo $! >"$folder/rgw.pid"
wait_for "the gateway" python3 -c "import socket; socket.create_connection(('127.0.0.1', $s3_port))"
radosgw-admin -c "$conf" -n client.rgw user create --uid tests --display-name Tests \
    --access-key "$access_key" --secret-key "$secret_key" >>"$folder/setup.log" 2>&1
echo "export DINOCELL_S3_ENDPOINT=http://127.0.0.1:$s3_port"
echo "export AWS_ACCESS_KEY_ID=$access_key AWS_SECRET_ACCESS_KEY=$secret_key"
