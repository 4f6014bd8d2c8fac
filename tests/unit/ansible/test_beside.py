"""docs/install-by-hand.md and the role `beside` write the same lines."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import jinja2
import jinja2.nativetypes
import pytest

from tests.lab import by_hand
from tests.lab.plan import REPOSITORY

yaml = pytest.importorskip("yaml", reason="comes with ansible-core, of the extra `lab`")

ROLES = REPOSITORY / "ansible/roles"
DEFAULTS = yaml.safe_load((ROLES / "chatmail/defaults/main.yml").read_text("utf-8"))
# A host whose operator has none of the settings that we add to.
VARIABLES: dict[str, Any] = {
    **{name: value for name, value in DEFAULTS.items() if not str(value).startswith("{{")},
    "ansible_managed": "MARK",
    "chatmail_max_relayed_size": DEFAULTS["chatmail_max_message_size"] + 1_048_576,
    "chatmail_domain": "chat.example",
    "chatmail_hostname": "mx.old.example",
    "beside_parts": ["milter", "relay", "mxdeliv", "accounts", "port_443"],
    "beside_own": dict.fromkeys(
        yaml.safe_load((ROLES / "beside/vars/main.yml").read_text("utf-8"))["beside_settings"], ""
    ),
    "beside_resolver": "192.0.2.53",
    "beside_certificate": "/etc/letsencrypt/live/chat.example/fullchain.pem",
    "beside_certificate_key": "/etc/letsencrypt/live/chat.example/privkey.pem",
    "beside_ipv6": {"stat": {"exists": True}},
    "beside_dovecot_has": {"stdout_lines": []},
    "beside_dovecot_users": {"auth-worker": "dovecot", "stats": "dovecot"},
    "beside_submission": [],
    "beside_nginx_user": "www-data",
}


def rendered(template: str, **variables: Any) -> str:
    """As Ansible renders it, without the line that says who manages the file."""
    environment = jinja2.Environment(  # noqa: S701
        loader=jinja2.FileSystemLoader(ROLES / "beside/templates"),
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    for name in ("search", "match"):
        find = getattr(re, name)
        environment.tests[name] = lambda value, what, find=find: find(what, value) is not None
    text = environment.get_template(template).render({**VARIABLES, **variables})
    return text.replace("# MARK\n", "").strip() + "\n"


def documented(path: str) -> str:
    """The blocks of the document for a file, without the lines that mark begin and end of a part."""
    text = "".join(step.text for step in by_hand.steps() if step.path == path)
    return re.sub(r"^# chatmail (begin|end).*\n", "", text, flags=re.M)


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("main.cf.j2", "/etc/postfix/main.cf"),
        ("master.cf.j2", "/etc/postfix/master.cf"),
        ("dovecot-first.conf.j2", "/etc/dovecot/conf.d/05-chatmail.conf"),
        ("dovecot-last.conf.j2", "/etc/dovecot/conf.d/95-chatmail.conf"),
        ("dovecot-443.conf.j2", "/etc/dovecot/conf.d/96-chatmail-443.conf"),
        ("nginx-443-stream.conf.j2", "/etc/nginx/modules-enabled/90-chatmail-443.conf"),
        ("nginx-443-http.conf.j2", "/etc/nginx/conf.d/chatmail-443.conf"),
        ("resolver.conf.j2", "/etc/systemd/system/chatmail-resolver.service.d/resolver.conf"),
    ],
)
def test_the_role_writes_what_the_document_says(template: str, path: str) -> None:
    assert re.sub(r"\n+", "\n", rendered(template)) == re.sub(r"\n+", "\n", documented(path))


def test_the_role_s_site_is_the_document_s_before_and_after_part_e() -> None:
    written = documented("/etc/nginx/sites-available/chatmail")
    four = VARIABLES["beside_parts"][:4]
    assert rendered("nginx.conf.j2", beside_parts=four) == written
    (line,) = [
        line
        for step in by_hand.steps()
        for line in step.text.splitlines()
        if step.part == "e" and line.startswith("sed -i --follow-symlinks")
    ]
    command = line.replace(" -i --follow-symlinks", "").replace("/etc/nginx/sites-enabled/*", "")
    moved = subprocess.run(["sh", "-c", command], input=written, capture_output=True, text=True, check=True)
    assert rendered("nginx.conf.j2") == re.sub(
        r"^ +# chatmail: .*\n| # chatmail: .*", "", moved.stdout, flags=re.M
    )


def test_users_on_port_443_may_do_what_they_may_do_at_the_operator_s_submissions() -> None:
    own = [
        "smtpd_relay_restrictions = reject_sender_login_mismatch, permit_sasl_authenticated, reject",
        "x =",
    ]
    (text,) = re.findall(
        r"^127\.0\.0\.1:11465 .*\n(?:  .*\n)+", rendered("master.cf.j2", beside_submission=own), re.M
    )
    assert [line.strip() for line in text.splitlines() if "restrictions" in line or " x " in line] == [
        f"-o {{ {one} }}" for one in own
    ]


@pytest.mark.parametrize(
    ("own", "milters", "others"),
    [
        ({}, "OURS", "$smtpd_milters"),
        ({"smtpd_milters": "inet:127.0.0.1:8891"}, "OURS, inet:127.0.0.1:8891", "OURS"),
        (
            {"smtpd_milters": "inet:1", "non_smtpd_milters": "$smtpd_milters"},
            "OURS, inet:1",
            "$smtpd_milters",
        ),
        ({"smtpd_milters": "inet:1", "non_smtpd_milters": "inet:2"}, "OURS, inet:1", "OURS, inet:2"),
    ],
)
def test_the_operator_s_milters_go_behind_ours_and_get_no_more_mail_than_before(
    own: dict[str, str], milters: str, others: str
) -> None:
    text = rendered("main.cf.j2", beside_own={**VARIABLES["beside_own"], **own})
    found = dict(line.split(" = ", 1) for line in text.splitlines() if "smtpd_milters = " in line)
    ours = "{ unix:chatmail/milter.sock, default_action=tempfail }"
    assert found["smtpd_milters"] == milters.replace("OURS", ours)
    assert found["non_smtpd_milters"] == others.replace("OURS", ours)


def test_each_part_alone_has_its_own_entries_only() -> None:
    names = {
        part: [
            line.split(" = ")[0]
            for line in rendered("main.cf.j2", beside_parts=[part]).splitlines()
            if line[:1] not in "#"
        ]
        for part in VARIABLES["beside_parts"]
    }
    assert names == {
        "milter": ["smtpd_milters", "non_smtpd_milters"],
        "relay": ["sender_dependent_default_transport_maps", "mxdeliv_destination_concurrency_limit"],
        "mxdeliv": [],
        "accounts": [
            "relay_domains",
            "transport_maps",
            "smtpd_recipient_restrictions",
            "tls_server_sni_maps",
        ],
        "port_443": [],
    }


@pytest.mark.parametrize(
    ("state", "parts", "closed"),
    [
        ("present", ["milter"], []),
        ("present", ["accounts"], [(10028, "dovecot"), (10031, "dovecot")]),
        ("present", ["relay"], [(10026, "chatmail-relay"), (10027, "postfix")]),
        ("present", ["mxdeliv"], [(10025, "chatmail-web"), (10029, "chatmail-web")]),
        ("present", ["port_443"], [(11443, "www-data"), (11465, "www-data"), (11993, "www-data")]),
        ("absent", ["relay", "mxdeliv", "port_443"], []),
    ],
)
def test_the_filter_closes_the_ports_of_the_parts_that_are_there_and_no_others(
    state: str, parts: list[str], closed: list[tuple[int, str]]
) -> None:
    written = yaml.safe_load((ROLES / "beside/vars/main.yml").read_text("utf-8"))
    environment = jinja2.nativetypes.NativeEnvironment(undefined=jinja2.StrictUndefined)
    environment.filters["extract"] = lambda name, of: of[name]
    environment.filters["flatten"] = lambda lists: [one for each in lists for one in each]

    def valued(node: Any, **more: Any) -> Any:
        if isinstance(node, dict):
            return {name: valued(value) for name, value in node.items()}
        if isinstance(node, list):
            return [valued(one) for one in node]
        return environment.from_string(node.strip()).render({**VARIABLES, **more})

    found = valued(
        written["beside_closed"],
        beside_ports=valued(written["beside_ports"]), chatmail_state=state, beside_parts=parts,
    )  # fmt: skip
    assert [(one["port"], one["user"]) for one in found] == closed


def test_the_document_says_which_packages_stay() -> None:
    (task,) = [
        one["vars"]["wanted"]
        for one in yaml.safe_load((ROLES / "beside/tasks/install.yml").read_text("utf-8"))
        if "wanted" in one.get("vars", {})
    ]
    installed = set(re.findall(r"'([a-z]+-?[a-z-]*)'(?=[\],])", task))
    assert {"nftables", "libnginx-mod-stream"} < installed
    document = (REPOSITORY / "docs/install-by-hand.md").read_text("utf-8")
    stay = document.partition("Debian's packages stay")[2].partition("`apt-get purge`")[0]
    assert set(re.findall(r"`([a-z-]+)`", stay)) == installed
