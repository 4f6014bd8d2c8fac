"""The Ansible inventory of the lab: the two relays and the variables an operator would set for them. Pure."""

from __future__ import annotations

import json
from typing import Any

from tests.lab import keys
from tests.lab.plan import DNS, NETWORK, NETWORK6, RELAYS, ZONE, Host, Paths

GROUP = "relays"
CLEAR_PEER = "peer.lab"
# The origin of a web client on another site.
WEB_CLIENT = "https://web.client.lab"
# The passwords of the admin pages on _a.lab, and what `chatmailctl admin hash` has made of them.
ADMIN = {
    "privileged": (
        "the operator acts here",
        "$argon2id$v=19$m=65536,t=3,p=4$UZuOzSjsL8qIsuUi2DhM+w$LoO8axxNlacdXBhZhXXuKjAP84ZYwmEYnNFnAWgPtTw",
    ),
    "read_only": (
        "the operator looks here",
        "$argon2id$v=19$m=65536,t=3,p=4$Hti3kDJ6TO6WE6npLzhESQ$qqhRDaFs8Eb+Yr1h987xs5qmglClzBaHSKbWPZjW9Ls",
    ),
}


def relay_variables(host: Host, paths: Paths) -> dict[str, Any]:
    return {
        "ansible_host": host.ip,
        "chatmail_domain": host.domain,
        "chatmail_dns_records_file": str(paths.records(host)),
        # Ansible looks for addresses in /sys, which shows a host of the lab its parent's.
        "dns_records_ipv4": host.ip,
        # With and without.
        "chatmail_mta_sts": host.name == "a",
        # Prometheus is not in the lab.
        "chatmail_metrics_reader": "nobody" if host.name == "a" else "",
        "chatmail_admin_passwords": {role: hashed for role, (_, hashed) in ADMIN.items()}
        if host.name == "a"
        else {},
        "chatmail_webimap": host.name == "a",
        # The lower half of the lab's network, where all of its hosts are.
        "chatmail_admin_networks": [f"{NETWORK.network_address}/25"] if host.name == "a" else [],
    }


def shared_variables(paths: Paths) -> dict[str, Any]:
    socket = keys.control_path(paths, "%h")
    persistent = ["-o", "ControlMaster=auto", "-o", "ControlPersist=60s", "-o", f"ControlPath={socket}"]
    return {
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_private_key_file": str(paths.ssh / keys.CLIENT_KEY),
        "ansible_ssh_args": " ".join([*keys.common_arguments(paths), *persistent]),
        "ansible_pipelining": True,
        "chatmail_allow_networks": [str(NETWORK), str(NETWORK6)],
        # As above.
        "nginx_ipv6": True,
        # A key of chatmail.toml that has no variable, with the default: whether it arrives, not what it does.
        "chatmail_settings": {"relay": {"workers": 64}, "webimap": {"origins": [WEB_CLIENT]}},
        # Other things run on the machine that the lab is on, and all people of the lab have one address.
        "chatmail_limit_load": 0,
        "chatmail_new_per_minute": 600,
        # Lines, quotes, and what is beyond U+FFFF: all of it is on the privacy page as it is here.
        "chatmail_contact": "operator@peer.lab",
        "chatmail_privacy_operator": 'The "Lab" \U0001f511\n<i>Musterstraße</i> 1',
        # The peer that keeps what crosses the wire speaks no TLS.
        "chatmail_smtp_tls_policy": {CLEAR_PEER: "may"},
        "chatmail_dns_forwarders": [DNS.ip],
        # Under these, NXDOMAIN needs no proof; any other name outside the lab is a SERVFAIL, as the lab's
        # root is not signed.
        "chatmail_dns_insecure_zones": [ZONE, "example."],
    }


def inventory(paths: Paths) -> str:
    hosts = {host.domain: relay_variables(host, paths) for host in RELAYS}
    tree = {GROUP: {"hosts": hosts, "vars": shared_variables(paths)}}
    return f"# Written by the lab. JSON is YAML too.\n{json.dumps(tree, indent=2, ensure_ascii=False)}\n"
