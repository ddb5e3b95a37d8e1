#!/bin/sh
# Makes certificates, starts two servers that speak TLS and the gateway, asks through it in plain HTTP, and stops
# everything. Needs curl, openssl and python3; meshproxy is taken from MESHPROXY or the path.
set -eu
cd "$(dirname "$0")"
meshproxy=${MESHPROXY:-meshproxy}
work=$(mktemp -d)
pids=""
trap 'for pid in $pids; do kill "$pid" 2>/dev/null || true; done; rm -rf "$work"' EXIT
cp gateway.yaml ../show_request.py "$work/"
cd "$work"
$meshproxy certs --directory certs api=api.test bank=bank.test us=spiffe://cluster.local/ns/egress/sa/gateway >/dev/null
python3 show_request.py 9443 certs/api.pem certs/api.key & pids="$pids $!"
openssl s_server -accept 127.0.0.1:9444 -cert certs/bank.pem -key certs/bank.key -CAfile certs/ca.pem -Verify 1 \
    -verify_return_error -www >bank.log 2>&1 & pids="$pids $!"
$meshproxy -c gateway.yaml 2>meshproxy.log & pids="$pids $!"
until curl -s -o /dev/null http://127.0.0.1:15000/ready; do sleep 0.1; done

ask() {
    echo "--- $1"
    shift
    curl -sS -m 5 "$@" http://127.0.0.1:8080/ 2>&1 | tr -d '\r' || true
    echo
}
ask "TLS begins at the gateway, for the name in the request" -H 'host: api.test'
ask "the server's certificate is for another name: refused" -H 'host: wrong.test'
echo "--- the gateway shows its own certificate where one is wanted"
curl -sS -m 5 -H 'host: bank.test' http://127.0.0.1:8080/ 2>&1 | grep -a -E 'Protocol|Ciphers|subject=|Subject Alternative|URI:' | head -n 5
grep -a -c 'verify return:1' bank.log >/dev/null && echo "the bank has verified it"
curl -s http://127.0.0.1:15000/stats | grep -E 'cluster\.(public|bank)\.ssl\.(handshake|fail_verify_san)'
