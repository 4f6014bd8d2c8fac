-- {{ ansible_managed }}
-- Dovecot's passdb and userdb (2.3 and 2.4): asks chatmail-hooks on loopback, which creates accounts, hashes passwords
-- and stores the day of a login. A password is sent there only to create an account; Dovecot's own code compares that
-- of an existing one. An unknown answer is a temporary failure. If the hooks refuse a request (400, 413: a name or
-- password that is not UTF-8, or too long), the login fails at once, because no account has these.
-- https://doc.dovecot.org/2.3/configuration_manual/authentication/lua_based_authentication/

local HOOKS = "http://127.0.0.1:{{ chatmail_hooks_port }}/dovecot/"
local SECRET_FILE = "/etc/chatmail/hooks.secret"

-- Timeout of each request in seconds, in case the hooks hang; Dovecot's own limit is a minute. New accounts wait for each
-- other's hashes, which takes a while if there are many.
local ANSWER_WITHIN = { lookup = 8, mailbox = 8, login = 8, create = 30 }

-- Without an answer Dovecot sets a status above 9000. After these two the request may be repeated at once: the hooks did
-- not accept the connection, or closed it while they restarted (HTTP_CLIENT_REQUEST_ERROR_* of 2.3).
local NOT_ASKED = { [9003] = true, [9005] = true }

local UNDERSTOOD = { [200] = true, [201] = true, [204] = true, [400] = true, [403] = true, [404] = true, [409] = true,
  [413] = true, [423] = true, [429] = true, [507] = true }

-- Permanent failures: unreadable, not allowed as an account, blocked or suspended. (429 and 507, too many guesses or no
-- resources for a new account, are temporary.)
local REFUSED = { [400] = true, [403] = true, [413] = true, [423] = true }

local clients, secret, dialect = {}, nil, nil

-- What differs between the two versions: settings of an HTTP client, the fingerprint (both give the same 12 bits, in four
-- digits), fields of a user, and results. By default a client waits up to a minute after a refused connection before the
-- next, and its worker with it.
local DIALECT_OF_2_3 = {
  client = function(seconds)
    return { request_absolute_timeout_msecs = seconds * 1000, connect_backoff_max_time_msecs = 1, }
  end,
  fingerprint = function() return "%{sha256;truncate=12,salt=" .. secret .. ":password}" end,
  capabilities = function(fields, prefix, names) fields[prefix .. "imap_capability"] = names end,
  quota = function(fields, prefix, octets) fields[prefix .. "quota_rule"] = "*:bytes=" .. octets end,
  -- Dovecot continues with its last, empty passdb. (A Lua passdb can set fields of a failed login in no other way, and
  -- INTERNAL_FAILURE is logged with the client's address.)
  refuse = function() return dovecot.auth.PASSDB_RESULT_NEXT, "nodelay=y" end,
  put_off = function() return dovecot.auth.PASSDB_RESULT_NEXT, "code=temp_fail" end,
}
local DIALECT_OF_2_4 = {
  client = function(seconds)
    return { request_absolute_timeout = seconds .. "s", connect_backoff_time = "1ms", connect_backoff_max_time = "1ms" }
  end,
  fingerprint = function() return "0%{password | sha256(salt='" .. secret .. "') | hexlify | substr(0, 3)}" end,
  capabilities = function(fields, prefix, names)
    for name in names:gmatch("[^+ ]+") do
      fields[prefix .. "imap_capability/" .. name] = "yes"
    end
  end,
  quota = function(fields, prefix, octets) fields[prefix .. "quota_storage_size"] = octets .. "B" end,
  -- A failed login has no fields; each kind has a delay of its own in dovecot.conf.
  refuse = function() return dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH end,
  put_off = function() return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE end,
}

function script_init()
  local file, problem = io.open(SECRET_FILE)
  if not file then
    dovecot.i_error("auth.lua: " .. problem)
    return 1
  end
  secret = file:read("l")
  file:close()
  -- 2.4 refuses settings that it does not know, 2.3 ignores them.
  dialect = pcall(dovecot.http.client, DIALECT_OF_2_3.client(1)) and DIALECT_OF_2_3 or DIALECT_OF_2_4
  for question, seconds in pairs(ANSWER_WITHIN) do
    clients[question] = dovecot.http.client(dialect.client(seconds))
  end
  return 0
end

-- A JSON string (RFC 8259, 7): quotes, backslashes and control characters are escaped.
local function quoted(text)
  return '"' .. text:gsub('[%c"\\]', function(c) return string.format("\\u%04x", c:byte()) end) .. '"'
end

-- Status and body of the hooks' answer.
local function ask_once(question, body)
  local request = clients[question]:request({ url = HOOKS .. question, method = "POST" })
  request:add_header("Content-Type", "application/json")
  request:add_header("X-Chatmail-Secret", secret)
  request:set_payload(body)
  local response = request:submit()
  return response:status(), response:payload() or ""
end

-- The same, with a second try, and a log entry for an unknown answer. No pause before the second try, because all logins
-- share the workers. While the hooks restart, their socket stays open and requests wait there.
local function ask(question, fields)
  local body = {}
  for name, value in pairs(fields) do
    table.insert(body, quoted(name) .. ": " .. quoted(value))
  end
  body = "{" .. table.concat(body, ", ") .. "}"
  local status, answer = ask_once(question, body)
  if NOT_ASKED[status] then
    status, answer = ask_once(question, body)
  end
  if not UNDERSTOOD[status] then
    dovecot.i_error("auth.lua: hooks answered " .. question .. " with " .. status)
  end
  return status, answer
end

-- 12 bits of a keyed hash of the password, by which, with the network, the hooks recognise the owner while others guess.
-- Nil if Dovecot lacks this hash; then guesses are not counted.
local function fingerprint_of(request)
  local known, hash = pcall(request.var_expand, request, dialect.fingerprint())
  return known and hash:match("^%x+$") or nil
end

-- The hash in an answer. The only character in it that some JSON encoders escape is the slash.
local function hash_in(body)
  local hash = body:match('"password"%s*:%s*"([^"]+)"')
  return hash and (hash:gsub("\\/", "/"))
end

-- `u@1.2.3.4` is `u@[1.2.3.4]`: one account, one mailbox.
local function canonical(user)
  return (user:gsub("@(%d+%.%d+%.%d+%.%d+)$", "@[%1]"))
end

-- A user's fields for Dovecot, each name with `prefix`. The IDs are needed for lookups by services that run as vmail. The
-- quota, if the account has its own, replaces that of dovecot.conf.
local function mailbox(user, body, prefix)
  local fields = { user = user, [prefix .. "uid"] = "vmail", [prefix .. "gid"] = "vmail" }
  -- XCHATMAIL: this is a chatmail relay, so Delta Chat need not move or delete for privacy's sake. XDELTAPUSH: it
  -- may give the token of its device. As a field of the user they are in the answer to a login (RFC 3501, 6.2.3);
  -- dovecot.conf would show them in the greeting, too, to programs that scan ports.
  dialect.capabilities(fields, prefix, "{{ dovecot_user_capabilities }}")
  local octets = body:match('"quota"%s*:%s*(%d+)')
  if octets then
    dialect.quota(fields, prefix, octets)
  end
  return fields
end

-- A permanent failure, without delay.
local function refuse()
  return dialect.refuse()
end

-- A temporary failure, after a delay, during which no worker waits.
local function put_off()
  return dialect.put_off()
end

function auth_password_verify(request, password)
  local user = canonical(request.user)
  -- The name in 2.3, then in 2.4. Empty if the program that asks does not send it.
  local login = { user = user, fingerprint = fingerprint_of(request), ip = request.rip or request.remote_ip or "" }
  local status, body = ask("lookup", login)
  if status == 404 then
    login.password = password
    status, body = ask("create", login)
    if status == 409 then
      -- Another first login was faster; its password is valid.
      login.password = nil
      status, body = ask("lookup", login)
    end
  end
  if status == 201 then
    -- Just created with this password, so there is nothing to compare, and the day of login is stored.
    return dovecot.auth.PASSDB_RESULT_OK, mailbox(user, body, "userdb_")
  end
  if REFUSED[status] then
    return refuse()
  end
  local hash = status == 200 and hash_in(body)
  local matches = hash and request:password_verify(hash, password)
  if matches == 0 then
    return refuse()
  elseif matches ~= 1 then
    return put_off()
  end
  if not body:match('"seen"%s*:%s*true') then
    -- A failure here does not fail the login; `ask` logs it.
    ask("login", login)
  end
  return dovecot.auth.PASSDB_RESULT_OK, mailbox(user, body, "userdb_")
end

-- For lookups without a login: LMTP, quota-status, doveadm. A suspended account still receives mail.
function auth_userdb_lookup(request)
  local user = canonical(request.user)
  local status, body = ask("mailbox", { user = user })
  if status == 200 then
    return dovecot.auth.USERDB_RESULT_OK, mailbox(user, body, "")
  elseif status == 404 or REFUSED[status] then
    return dovecot.auth.USERDB_RESULT_USER_UNKNOWN, ""
  end
  return dovecot.auth.USERDB_RESULT_INTERNAL_FAILURE, "hooks away"
end

-- The key of an answer in Dovecot 2.4's cache, if the process has one: the name. (2.3 also uses the name.)
function auth_userdb_get_cache_key()
  return "%{user}"
end
