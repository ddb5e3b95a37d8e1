#!/bin/sh
# Makes certificates, starts an application, a server that ends TLS itself and the gateway, asks each of them once with
# curl, and stops everything. Needs curl, openssl and python3; meshproxy is taken from MESHPROXY or the path.
set -eu
cd "$(dirname "$0")"
meshproxy=${MESHPROXY:-meshproxy}
work=$(mktemp -d)
pids=""
trap 'for pid in $pids; do kill "$pid" 2>/dev/null || true; done; rm -rf "$work"' EXIT
cp gateway.yaml ../show_request.py "$work/"
cd "$work"
$meshproxy certs --directory certs shop=shop.test partners=partners.test inner=one.through.test \
    friend=spiffe://partners.example/friend stranger=spiffe://elsewhere.example/stranger >/dev/null
python3 show_request.py 9080 & pids="$pids $!"
python3 show_request.py 9443 certs/inner.pem certs/inner.key & pids="$pids $!"
$meshproxy -c gateway.yaml 2>meshproxy.log & pids="$pids $!"
until curl -s -o /dev/null http://127.0.0.1:15000/ready; do sleep 0.1; done

ask() {
    echo "--- $1"
    shift
    curl -sS -m 5 --cacert certs/ca.pem --connect-to ::127.0.0.1: "$@" 2>&1 | tr -d '\r' || true
    echo
}
ask "plain HTTP is sent to HTTPS" -o /dev/null -w '%{http_code} %{redirect_url}' http://shop.test:8080/cart
ask "HTTPS ends at the gateway" https://shop.test:8443/cart
ask "without a client certificate: refused" https://partners.test:8443/orders
ask "a stranger's certificate: refused" --cert certs/stranger.pem --key certs/stranger.key https://partners.test:8443/orders
ask "a friend's certificate: the application learns who it is" \
    --cert certs/friend.pem --key certs/friend.key https://partners.test:8443/orders
ask "passed through by name, TLS ends behind the gateway" https://one.through.test:8443/inside
echo "--- the certificate that openssl sees for each name"
for name in shop.test partners.test one.through.test; do
    printf '%s: ' "$name"
    openssl s_client -connect 127.0.0.1:8443 -servername "$name" </dev/null 2>/dev/null |
        openssl x509 -noout -ext subjectAltName | tail -n 1 | sed 's/^ *//'
done
