"""What the role `beside` says of an nginx whose sites have port 443, before it changes anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.lab.plan import REPOSITORY

SCRIPT = (REPOSITORY / "ansible/roles/beside/files/in-the-way").read_text("utf-8")
STREAM = "/etc/nginx/modules-enabled/90-chatmail-443.conf"
MAIN = """\
user www-data;
include /etc/nginx/modules-enabled/*.conf;
http {
    # listen 443 ssl; is in no site here
    include /etc/nginx/conf.d/*.conf;
    include /etc/nginx/sites-enabled/*;
}
"""
MODULE = "load_module modules/ngx_stream_module.so;\n"
OURS = "server {\n    listen 443 ssl;\n    listen [::]:443 ssl;\n    server_name chat.example;\n}\n"
MOVED = "listen 127.0.0.1:11443 ssl proxy_protocol;"
# Each program of the host that is asked, as one of Debian's with nothing in the way.
STUBS = {
    "nginx": 'case $1 in -t) exit ;; -V) echo "$BUILT" >&2 ;; -T) cat "$READ" ;; esac',
    "dpkg-query": 'printf "$MODULE"',
    "postconf": "exit 0",
    "doveconf": "exit 0",
    "runuser": "exit 0",
    "ss": 'case "$*" in *:443) echo "$HOLDER" ;; esac',
}
DEBIAN = "configure arguments: --with-stream=dynamic --with-stream_ssl_preread_module"


class Nginx:
    """What `nginx -T` says, and what the script says of that."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.built, self.module, self.holder = DEBIAN, "installed", ""
        self._files: dict[str, str] = {}
        self.put("nginx.conf", MAIN)
        self.put("modules-enabled/50-mod-stream.conf", MODULE)
        self.put("sites-enabled/chatmail", OURS)
        for name, text in STUBS.items():
            (directory / name).write_text(f"#!/bin/sh\n{text}\n", "utf-8")
            (directory / name).chmod(0o755)

    def put(self, path: str, text: str) -> None:
        self._files[path] = text

    def site(self, *listens: str) -> None:
        self.put("sites-enabled/shop", "server {\n" + "".join(f"    {one}\n" for one in listens) + "}\n")

    def in_the_way(self, parts: str = "mxdeliv,accounts,port_443", *, were: bool = False) -> list[str]:
        read = self._directory / "read"
        read.write_text(
            "".join(
                f"# configuration file /etc/nginx/{path}:\n{text}\n" for path, text in self._files.items()
            ),
            "utf-8",
        )
        ours = self._directory / "ours"
        ours.unlink(missing_ok=True)
        if were:
            ours.touch()
        script = SCRIPT.replace(f"stream={STREAM}", f"stream={ours}")
        assert script != SCRIPT
        done = subprocess.run(
            ["sh", "-c", script, "in-the-way", "chat.example", parts, "", "11443"],
            env={
                "PATH": f"{self._directory}:{os.environ['PATH']}", "READ": str(read), "BUILT": self.built,
                "MODULE": self.module, "HOLDER": self.holder,
            },
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.splitlines()


@pytest.fixture
def nginx(tmp_path: Path) -> Nginx:
    return Nginx(tmp_path)


@pytest.mark.parametrize(
    ("listen", "instead"),
    [
        ("listen 443;", "127.0.0.1:11443 proxy_protocol"),
        ("listen 443 ssl;", "127.0.0.1:11443 ssl proxy_protocol"),
        ("listen 443 ssl http2 default_server;", "127.0.0.1:11443 ssl http2 default_server proxy_protocol"),
        ("listen [::]:443 ssl ipv6only=on; # managed by Certbot", "127.0.0.1:11443 ssl proxy_protocol"),
        ("listen *:443 ssl;", "127.0.0.1:11443 ssl proxy_protocol"),
        ("listen 192.0.2.1:443 ssl;", "127.0.0.1:11443 ssl proxy_protocol"),
        ("listen [2001:db8::1]:443 ssl;", "127.0.0.1:11443 ssl proxy_protocol"),
        ("listen localhost:443 ssl;", "127.0.0.1:11443 ssl proxy_protocol"),
        ('listen\t"443"  ssl ;', "127.0.0.1:11443 ssl proxy_protocol"),
        ("listen 11443 ssl proxy_protocol;", "127.0.0.1:11443 ssl proxy_protocol"),
        ("listen 127.0.0.1:11443 ssl;", "127.0.0.1:11443 ssl proxy_protocol"),
    ],
)
def test_each_way_to_listen_there_is_named_with_what_to_write(
    nginx: Nginx, listen: str, instead: str
) -> None:
    nginx.site("server_name shop.example;", listen)
    (line,) = nginx.in_the_way()
    assert line.startswith("nginx: /etc/nginx/sites-enabled/shop:3: `listen ")
    assert f"write `listen {instead}`" in line


@pytest.mark.parametrize(
    "listen",
    [
        "listen 80;",
        "listen 8443 ssl;",
        "listen [::1];",
        "listen unix:/run/x.sock;",
        "listen 443 quic;",
        "# listen 443 ssl;",
        "root /x; # listen 443 ssl;",
        MOVED,
        f"{MOVED} # chatmail: listen 443 ssl;",
    ],
)
def test_what_is_not_on_port_443_or_was_moved_is_not_in_the_way(nginx: Nginx, listen: str) -> None:
    nginx.site(listen)
    assert nginx.in_the_way() == []


def test_statements_are_found_wherever_they_stand(nginx: Nginx) -> None:
    nginx.put(
        "conf.d/x.conf",
        "map $a $b { default 1; } server { listen 443 ssl; }\nserver {\n  listen\n  443;\n}\n",
    )
    assert [line.split()[1] for line in nginx.in_the_way()] == [
        "/etc/nginx/conf.d/x.conf:1:",
        "/etc/nginx/conf.d/x.conf:3:",
    ]


def test_a_host_without_another_site_has_nothing_in_the_way(nginx: Nginx) -> None:
    assert nginx.in_the_way() == []
    # Nor have sites, where they keep the port.
    nginx.site("listen 443 ssl;")
    assert nginx.in_the_way("mxdeliv,accounts") == []


@pytest.mark.parametrize("parts", ["", "milter", "mxdeliv,accounts"])
def test_before_the_part_is_taken_away_its_sites_are_put_back(nginx: Nginx, parts: str) -> None:
    nginx.site("listen 127.0.0.1:11443 ssl http2 proxy_protocol;")
    (line,) = nginx.in_the_way(parts, were=True)
    assert "write `listen 443 ssl http2` again" in line
    nginx.site("listen 443 ssl http2;")
    assert nginx.in_the_way(parts, were=True) == []
    # Where it never was, that port is none of ours.
    nginx.site(MOVED)
    assert nginx.in_the_way(parts) == []


def test_an_own_stream_block_is_in_the_way(nginx: Nginx) -> None:
    nginx.put("nginx.conf", f"{MAIN}stream {{\n    server {{ listen 8853; proxy_pass x:1; }}\n}}\n")
    (line,) = nginx.in_the_way()
    assert line.startswith("nginx: /etc/nginx/nginx.conf:8: `stream`: nginx has one such block only")
    assert nginx.in_the_way("mxdeliv") == []
    nginx.put("nginx.conf", f"{MAIN}stream {{\n    server {{ listen 443; proxy_pass x:1; }}\n}}\n")
    (line,) = nginx.in_the_way("mxdeliv")
    assert line.startswith("nginx: /etc/nginx/nginx.conf:9: `listen 443`: our site could not have that port")


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("conf.d/cdn.conf", "real_ip_header X-Real-IP;\n", "/cdn.conf:1: `real_ip_header X-Real-IP`"),
        ("conf.d/x.conf", "port_in_redirect off;\n", "/x.conf:1: `port_in_redirect off`: we set that"),
        ("conf.d/x.conf", "server { listen 443 ssl proxy_protocol; }\n", "clients come through a proxy"),
        ("nginx.conf", MAIN.replace("modules-enabled", "m"), "add `include /etc/nginx/modules-enabled/*"),
        ("nginx.conf", MAIN.replace("conf.d", "c"), "add `include /etc/nginx/conf.d/*.conf;`"),
        ("modules-enabled/50-mod-stream.conf", "", "its module stream is installed, but turned off"),
    ],
)  # fmt: skip
def test_what_else_contradicts_the_part_is_named(nginx: Nginx, path: str, text: str, words: str) -> None:
    nginx.put(path, text)
    (line,) = nginx.in_the_way()
    assert words in line
    assert nginx.in_the_way("mxdeliv,accounts") == []


def test_a_site_s_own_redirects_are_not_in_the_way(nginx: Nginx) -> None:
    nginx.site(MOVED, "port_in_redirect on;")
    assert nginx.in_the_way() == []


def test_an_nginx_without_the_module_is_in_the_way(nginx: Nginx) -> None:
    nginx.built = "configure arguments: --with-threads"
    assert nginx.in_the_way() == [
        "nginx: only Debian's can have port_443 by this playbook: leave it out of beside_parts"
    ]
    assert nginx.in_the_way("mxdeliv") == []


def test_the_module_is_not_installed_while_sites_are_moved_since_that_reloads_nginx(nginx: Nginx) -> None:
    nginx.module = ""
    nginx.put("modules-enabled/50-mod-stream.conf", "")
    assert nginx.in_the_way() == []
    nginx.site(MOVED)
    (line,) = nginx.in_the_way()
    assert "install libnginx-mod-stream, and move them then" in line


def test_another_program_on_the_port_is_in_the_way(nginx: Nginx) -> None:
    nginx.holder = 'LISTEN 0 511 *:443 *:* users:(("apache2",pid=1,fd=4))'
    assert nginx.in_the_way("mxdeliv") == [
        'another program listens on port 443 ((("apache2",pid=1,fd=4))), which nginx needs for our site'
    ]
    nginx.holder = nginx.holder.replace("apache2", "nginx")
    assert nginx.in_the_way("mxdeliv") == []
