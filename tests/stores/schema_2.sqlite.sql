-- A store of schema 2, as programs made it that had no traffic by the hour yet, with the rows of schema_1.sqlite.sql.
-- Its text is as SQLite and those programs wrote it; it is not edited.
CREATE TABLE accounts (
    address VARCHAR(320) NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    created DATE NOT NULL,
    last_login DATE,
    quota BIGINT,
    PRIMARY KEY (address)
);
INSERT INTO accounts (address, password_hash, created, last_login, quota)
    VALUES ('alice000@a.test', '{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$c2FsdA$aGFzaA', '2026-11-01', '2026-11-20', 2000000000);
INSERT INTO accounts (address, password_hash, created, last_login, quota)
    VALUES ('bob00000@a.test', '{ARGON2ID}b', '2026-11-02', NULL, NULL);
INSERT INTO accounts (address, password_hash, created, last_login, quota)
    VALUES ('carol000@a.test', '{ARGON2ID}c', '2026-11-03', '2026-11-04', 5);

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version (version_num)
    VALUES ('2');

CREATE TABLE blocklist (
    entry VARCHAR(320) NOT NULL,
    added DATE NOT NULL,
    note VARCHAR(200),
    PRIMARY KEY (entry)
);
INSERT INTO blocklist (entry, added, note)
    VALUES ('spam@b.test', '2026-11-11', 'a note of the operator''s, with ''quotes'' and ü');
INSERT INTO blocklist (entry, added, note)
    VALUES ('.evil.test', '2026-11-12', NULL);

CREATE TABLE breakers (
    domain VARCHAR(255) NOT NULL,
    host VARCHAR(255) NOT NULL,
    until FLOAT NOT NULL,
    PRIMARY KEY (domain, host)
);
INSERT INTO breakers (domain, host, until)
    VALUES ('d.test', 'a.test', 1793664300.0);

CREATE TABLE ended_logins (
    name VARCHAR(32) NOT NULL,
    revision INTEGER NOT NULL,
    day DATE NOT NULL,
    PRIMARY KEY (name)
);
INSERT INTO ended_logins (name, revision, day)
    VALUES ('eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee', 7, '2026-11-10');

CREATE TABLE endpoint_hosts (
    domain VARCHAR(255) NOT NULL,
    host VARCHAR(600) NOT NULL,
    proven_until FLOAT,
    disproven_until FLOAT,
    size_limit BIGINT,
    limited_until FLOAT,
    PRIMARY KEY (domain, host)
);
INSERT INTO endpoint_hosts (domain, host, proven_until, disproven_until, size_limit, limited_until)
    VALUES ('b.test', 'relay.b.test', 1793750400.0, NULL, 30000000000, 1793750000.5);
INSERT INTO endpoint_hosts (domain, host, proven_until, disproven_until, size_limit, limited_until)
    VALUES ('d.test', 'd.test', NULL, 1793667600.0, NULL, NULL);

CREATE TABLE endpoints (
    domain VARCHAR(255) NOT NULL,
    host VARCHAR(255),
    worked FLOAT,
    failures INTEGER NOT NULL,
    no_https_until FLOAT,
    reason VARCHAR(64),
    PRIMARY KEY (domain)
);
INSERT INTO endpoints (domain, host, worked, failures, no_https_until, reason)
    VALUES ('b.test', 'relay.b.test', 1793660000.125, 0, NULL, NULL);
INSERT INTO endpoints (domain, host, worked, failures, no_https_until, reason)
    VALUES ('d.test', NULL, NULL, 3, 1793664240.0, 'timeout');

CREATE TABLE federation_exceptions (
    rule VARCHAR(16) NOT NULL,
    domain VARCHAR(256) NOT NULL,
    PRIMARY KEY (rule, domain)
);
INSERT INTO federation_exceptions (rule, domain)
    VALUES ('closed', '.example.org');
INSERT INTO federation_exceptions (rule, domain)
    VALUES ('open', 'b.test');

CREATE TABLE missing_keys (
    name_hash BLOB NOT NULL,
    since FLOAT NOT NULL,
    last FLOAT NOT NULL,
    PRIMARY KEY (name_hash)
);
INSERT INTO missing_keys (name_hash, since, last)
    VALUES (X'000102030405060708090a0b0c0d0e0f', 1793600000.0, 1793660000.0);

CREATE TABLE peer_errors (
    number INTEGER NOT NULL,
    domain VARCHAR(255) NOT NULL,
    road VARCHAR(16) NOT NULL,
    at FLOAT NOT NULL,
    reason VARCHAR(64) NOT NULL,
    words VARCHAR(200) NOT NULL,
    PRIMARY KEY (number)
);
CREATE INDEX ix_peer_errors_domain ON peer_errors (domain);
INSERT INTO peer_errors (number, domain, road, at, reason, words)
    VALUES (5, 'b.test', 'https', 1793663000.5, 'timeout', 'no answer within 60 s');

CREATE TABLE peer_failures (
    domain VARCHAR(255) NOT NULL,
    road VARCHAR(16) NOT NULL,
    reason VARCHAR(64) NOT NULL,
    failures INTEGER NOT NULL,
    PRIMARY KEY (domain, road, reason)
);
INSERT INTO peer_failures (domain, road, reason, failures)
    VALUES ('b.test', 'https', 'timeout', 1);

CREATE TABLE peer_latencies (
    domain VARCHAR(255) NOT NULL,
    road VARCHAR(16) NOT NULL,
    bucket INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    PRIMARY KEY (domain, road, bucket)
);
INSERT INTO peer_latencies (domain, road, bucket, successes)
    VALUES ('b.test', 'https', -13, 9);
INSERT INTO peer_latencies (domain, road, bucket, successes)
    VALUES ('b.test', 'https', 2, 1);

CREATE TABLE peer_log_marks (
    reader VARCHAR(255) NOT NULL,
    mark VARCHAR(512) NOT NULL,
    PRIMARY KEY (reader)
);
INSERT INTO peer_log_marks (reader, mark)
    VALUES ('a.test/postfix', 's=0123;i=9f');

CREATE TABLE peers (
    domain VARCHAR(255) NOT NULL,
    road VARCHAR(16) NOT NULL,
    attempts INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    timed INTEGER NOT NULL,
    seconds FLOAT NOT NULL,
    last_contact FLOAT NOT NULL,
    PRIMARY KEY (domain, road)
);
INSERT INTO peers (domain, road, attempts, successes, timed, seconds, last_contact)
    VALUES ('b.test', 'https', 12, 11, 10, 1.25, 1793663999.0);
INSERT INTO peers (domain, road, attempts, successes, timed, seconds, last_contact)
    VALUES ('b.test', 'inbound', 2, 2, 0, 0.0, 1793663000.0);

CREATE TABLE policy (
    id INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    federation VARCHAR(16) NOT NULL,
    PRIMARY KEY (id)
);
INSERT INTO policy (id, revision, federation)
    VALUES (1, 8, 'closed');

CREATE TABLE recipient_refusals (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    recipient VARCHAR(32) NOT NULL,
    code INTEGER NOT NULL,
    status VARCHAR(16) NOT NULL,
    words VARCHAR(200) NOT NULL,
    until FLOAT NOT NULL,
    UNIQUE (recipient)
);
CREATE INDEX ix_recipient_refusals_until ON recipient_refusals (until);
INSERT INTO recipient_refusals (number, recipient, code, status, words, until)
    VALUES (41, 'ffffffffffffffffffffffffffffffff', 550, '5.1.1', '￼: no such user', 1793740000.0);

CREATE TABLE reserved_names (
    name VARCHAR(32) NOT NULL,
    gone FLOAT NOT NULL,
    PRIMARY KEY (name)
);
INSERT INTO reserved_names (name, gone)
    VALUES ('dddddddddddddddddddddddddddddddd', 1793664000.0);

CREATE TABLE routes (
    domain VARCHAR(255) NOT NULL,
    target VARCHAR(512),
    https VARCHAR(16) NOT NULL,
    verify BOOLEAN,
    one_per_recipient BOOLEAN NOT NULL,
    PRIMARY KEY (domain)
);
INSERT INTO routes (domain, target, https, verify, one_per_recipient)
    VALUES ('b.test', 'https://relay.b.test:8443/mxdeliv', 'only', 1, 0);
INSERT INTO routes (domain, target, https, verify, one_per_recipient)
    VALUES ('c.test', NULL, 'never', NULL, 1);

CREATE TABLE suspensions (
    address VARCHAR(320) NOT NULL,
    since DATE NOT NULL,
    PRIMARY KEY (address)
);
INSERT INTO suspensions (address, since)
    VALUES ('bob00000@a.test', '2026-11-05');
INSERT INTO suspensions (address, since)
    VALUES ('gone0000@a.test', '2026-11-06');

CREATE TABLE tokens (
    digest VARCHAR(64) NOT NULL,
    created DATE NOT NULL,
    uses INTEGER,
    used INTEGER NOT NULL,
    expires FLOAT,
    PRIMARY KEY (digest)
);
INSERT INTO tokens (digest, created, uses, used, expires)
    VALUES ('bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', '2026-11-08', 10, 4, 1800000000.0);
INSERT INTO tokens (digest, created, uses, used, expires)
    VALUES ('cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc', '2026-11-09', NULL, 0, NULL);

CREATE TABLE device_tokens (
    address VARCHAR(320) NOT NULL,
    digest VARCHAR(64) NOT NULL,
    token VARCHAR(4096) NOT NULL,
    given DATE NOT NULL,
    PRIMARY KEY (address, digest),
    FOREIGN KEY(address) REFERENCES accounts (address) ON DELETE CASCADE
);
INSERT INTO device_tokens (address, digest, token, given)
    VALUES ('alice000@a.test', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'fcm-chat.delta:token', '2026-11-07');

CREATE TABLE push_notices (
    address VARCHAR(320) NOT NULL,
    digest VARCHAR(64) NOT NULL,
    mails INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    since FLOAT NOT NULL,
    due FLOAT NOT NULL,
    PRIMARY KEY (address, digest),
    FOREIGN KEY(address, digest) REFERENCES device_tokens (address, digest) ON DELETE CASCADE
);
CREATE INDEX push_notices_due ON push_notices (due);
INSERT INTO push_notices (address, digest, mails, tries, since, due)
    VALUES ('alice000@a.test', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 3, 1, 1793664000.25, 1793664060.5);
