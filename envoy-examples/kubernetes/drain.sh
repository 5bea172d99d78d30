#!/bin/bash
# The preStop hook: starts a terminate drain, then waits until nothing is in flight, so that the SIGTERM
# which follows cuts nobody off. Kubernetes limits it by terminationGracePeriodSeconds.
set -euo pipefail
folder=${SLUICE_FOLDER:-/etc/sluice}
admin=${SLUICE_ADMIN_PORT:-9901}
# As long as it takes until no load balancer sends new connections here.
notice=${SLUICE_NOTICE_SECONDS:-15}

in_flight() {
    exec 3<>"/dev/tcp/127.0.0.1/$admin"
    printf 'GET /stats?filter=^wasmcustom.sluice.in_flight$ HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n' >&3
    tr -d '\r' <&3 | sed -n 's/^wasmcustom.sluice.in_flight: //p'
    exec 3>&-
}

cp "$folder/filter.terminate.yaml" "$folder/.next"
mv "$folder/.next" "$folder/filter.yaml"
sleep "$notice"
until [ "$(in_flight)" = 0 ]; do
    sleep 0.5
done
