#!/bin/bash
# Records demo.pcapng again: real programs talk to each other in two network namespaces that this script makes and
# removes; no other network is touched. Needs root and the packages that README.md lists. Leaves demo.pcapng beside it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
client=sluice-rec-client
server=sluice-rec-server
started=()

clean_up() {
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    ip netns del "$client" 2>/dev/null || true
    ip netns del "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

on_client() { ip netns exec "$client" "$@"; }
on_server() { ip netns exec "$server" "$@"; }
# Starts a program that runs until the recording is over. Its input stays open and silent: vde_switch ends with it.
mkfifo "$work/silence"
exec 9<>"$work/silence"
keep() {
    "$@" <&9 >>"$work/log" 2>&1 &
    started+=($!)
}
# Waits until a command succeeds.
await() {
    for _ in $(seq 100); do
        if "$@" >>"$work/log" 2>&1; then return; fi
        sleep 0.1
    done
    echo "record.sh: still failing after 10 s: $*" >&2
    tail -20 "$work/log" >&2
    exit 1
}

# --- the cable -----------------------------------------------------------------------------------------------------
# One veth pair is the wire that is recorded. At either end a bridge joins three things: the wire, the host itself, and
# the trunk port of a VDE switch, whose access port in VLAN 10 is a second interface of the host. Addresses are those
# that RFC 5737, RFC 3849 and RFC 7042 keep for examples.
ip netns del "$client" 2>/dev/null || true
ip netns del "$server" 2>/dev/null || true
ip netns add "$client"
ip netns add "$server"
ip -n "$client" link add wire mtu 1500 type veth peer name wire mtu 1500 netns "$server"

connect() { # namespace, MAC, IPv4 and IPv6 address of the host, MAC and IPv4 address in VLAN 10
    local netns=$1 switch="$work/$1.switch"
    # Only what the programs below send, and no waiting for duplicate addresses.
    ip netns exec "$netns" sysctl -q net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    ip -n "$netns" link set lo up
    # Segments and checksums as they are on a wire, VLAN tags in the frame.
    ip netns exec "$netns" ethtool -K wire tx off tso off gso off gro off txvlan off rxvlan off >/dev/null
    ip -n "$netns" link add host address "$2" type bridge mcast_snooping 0
    ip -n "$netns" tuntap add dev trunk mode tap
    ip -n "$netns" tuntap add dev vlan10 mode tap
    ip -n "$netns" link set vlan10 address "$5"
    ip netns exec "$netns" sysctl -q net.ipv6.conf.host.disable_ipv6=0 net.ipv6.conf.host.router_solicitations=0
    ip -n "$netns" address add "$3" dev host
    ip -n "$netns" address add "$4" dev host nodad
    ip -n "$netns" address add "$6" dev vlan10
    for port in wire trunk; do ip -n "$netns" link set "$port" master host up; done
    for interface in host vlan10; do ip -n "$netns" link set "$interface" up; done
    printf '%s\n' 'vlan/create 10' 'port/create 1' 'port/setvlan 1 10' 'port/create 2' 'vlan/addport 10 2' \
        >"$work/vde.rc"
    keep vde_switch --sock "$switch" --rcfile "$work/vde.rc"
    await test -S "$switch/ctl"
    keep ip netns exec "$netns" vde_plug2tap --sock "$switch" --port 1 vlan10
    keep ip netns exec "$netns" vde_plug2tap --sock "$switch" --port 2 trunk
}
connect "$client" 00:00:5e:00:53:01 192.0.2.1/25 2001:db8::1/64 00:00:5e:00:53:11 192.0.2.129/25
connect "$server" 00:00:5e:00:53:02 192.0.2.2/25 2001:db8::2/64 00:00:5e:00:53:12 192.0.2.130/25

# --- the servers ---------------------------------------------------------------------------------------------------
names=(www.example.com static.example.com pixel.tracker.test)
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=www.example.com \
    -addext "subjectAltName=$(printf 'DNS:%s,' "${names[@]}" | sed 's/,$//')" \
    -keyout "$work/key.pem" -out "$work/certificate.pem" 2>>"$work/log"
cat >"$work/nginx.conf" <<CONF
daemon off; master_process off; pid $work/nginx.pid; error_log $work/log;
events {}
http {
    access_log off; server_tokens off;
    client_body_temp_path $work/n1; proxy_temp_path $work/n2; fastcgi_temp_path $work/n3;
    uwsgi_temp_path $work/n4; scgi_temp_path $work/n5;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate $work/certificate.pem; ssl_certificate_key $work/key.pem;
    server {
        listen 192.0.2.2:80; listen 192.0.2.130:80; listen [2001:db8::2]:80;
        listen 192.0.2.2:443 ssl http2; listen [2001:db8::2]:443 ssl http2;
        location / { default_type text/plain; return 200 "A page of \$host.\n"; }
    }
}
CONF
keep ip netns exec "$server" nginx -c "$work/nginx.conf" -e "$work/log"
keep ip netns exec "$server" dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --no-daemon \
    --user=root --log-facility=- --pid-file="$work/dnsmasq.pid" \
    --address=/example.com/192.0.2.2 --address=/example.com/2001:db8::2 --address=/tracker.test/192.0.2.2
await on_client curl -s --max-time 1 -o /dev/null http://192.0.2.2/
await on_client curl -s --max-time 1 -o /dev/null http://192.0.2.130/
await on_client dig +tries=1 +timeout=1 @192.0.2.2 ready.example.com

# --- the recording -------------------------------------------------------------------------------------------------
# Both ends forget each other, so that the recording begins with ARP and neighbour discovery.
for netns in "$client" "$server"; do ip -n "$netns" neighbour flush all; done
keep ip netns exec "$server" tcpdump -q -n -U --immediate-mode -i wire -w "$work/wire.pcap"
await grep -q 'listening on wire' "$work/log"

get() { on_client curl -sS -k -A demo -o /dev/null "$@"; }
query() { on_client dig +tries=1 +timeout=2 "$@" >>"$work/log"; }

query @192.0.2.2 www.example.com A
query @2001:db8::2 www.example.com AAAA
query @192.0.2.2 pixel.tracker.test A
query +tcp @192.0.2.2 static.example.com A
get --resolve www.example.com:80:192.0.2.2 http://www.example.com/
get --resolve pixel.tracker.test:80:192.0.2.2 http://pixel.tracker.test/count
get --resolve www.example.com:443:192.0.2.2 --tlsv1.3 --http2 https://www.example.com/
get --resolve static.example.com:443:[2001:db8::2] --tls-max 1.2 --http1.1 https://static.example.com/style.css
get --resolve pixel.tracker.test:443:192.0.2.2 --tlsv1.3 --http1.1 https://pixel.tracker.test/count
# Nobody listens on the Telnet port: a SYN and a reset.
get --max-time 2 telnet://192.0.2.2 2>>"$work/log" || true
on_client ping -q -c 2 -i 0.2 192.0.2.2 >>"$work/log"
on_client ping -q -c 2 -i 0.2 2001:db8::2 >>"$work/log"
# Three fragments each way, over either version of IP.
on_client ping -q -c 1 -s 4000 192.0.2.2 >>"$work/log"
on_client ping -q -c 1 -s 4000 2001:db8::2 >>"$work/log"
# In VLAN 10.
on_client ping -q -c 2 -i 0.2 192.0.2.130 >>"$work/log"
query @192.0.2.130 www.example.com A
get --resolve intranet.example.com:80:192.0.2.130 http://intranet.example.com/

# What was sent last has to be in the file before it is closed.
sleep 0.5
kill "${started[-1]}"
wait "${started[-1]}" 2>/dev/null || true
unset 'started[-1]'

# --- the file ------------------------------------------------------------------------------------------------------
# A classic pcap holds packets alone. Of the pcapng that editcap makes of it, the section header is replaced by one
# without options: they would say with which program, of which version, on what system.
editcap -F pcapng "$work/wire.pcap" "$work/wire.pcapng"
section_header_length=$(od -An -tu4 -j4 -N4 "$work/wire.pcapng")
{
    printf '\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x1c\0\0\0'
    tail -c "+$((section_header_length + 1))" "$work/wire.pcapng"
} >"$work/demo.pcapng"

# Everything that the capture is for has to be in it; the counts are the table of README.md.
filters=(
    frame arp ip ipv6 'tcp && ip' 'tcp && ipv6' 'udp && ip' 'udp && ipv6' 'icmp' 'icmpv6'
    'dns && udp' 'dns.qry.name == "pixel.tracker.test"' http.request
    'tls.handshake.extensions_server_name == "www.example.com"'
    'tls.handshake.extensions_server_name == "static.example.com"'
    'tls.handshake.extensions_server_name == "pixel.tracker.test"'
    'tcp.dstport == 23' 'ip.flags.mf == 1 || ip.frag_offset > 0' ipv6.fraghdr vlan.id==10
)
for filter in "${filters[@]}"; do
    count=$(tshark -n -o ip.defragment:FALSE -o ipv6.defragment:FALSE -r "$work/demo.pcapng" -Y "$filter" \
        2>>"$work/log" | wc -l)
    printf '%4d  %s\n' "$count" "$filter"
    if [ "$count" -eq 0 ]; then
        echo "record.sh: the recording lacks: $filter" >&2
        exit 1
    fi
done
mv "$work/demo.pcapng" "$here/demo.pcapng"
