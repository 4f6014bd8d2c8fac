-- {{ ansible_managed }}
-- Dovecot's passdb and userdb (2.3 and 2.4): asks chatmail-hooks on loopback. Whether an account may be made,
-- how its password is hashed and what is remembered is decided there, in Python. A password is sent there only
-- to make an account; that of an existing one is compared here, by Dovecot's own code.
-- An answer that is not understood is a temporary failure: nobody is let in or turned away by it. A question that the
-- hooks refuse to read (400, 413: a name or password that is not UTF-8, or too long) is answered at once: nobody has it.
-- https://doc.dovecot.org/2.3/configuration_manual/authentication/lua_based_authentication/

local HOOKS = "http://127.0.0.1:{{ chatmail_hooks_port }}/dovecot/"
local SECRET_FILE = "/etc/chatmail/hooks.secret"

-- How long each question may take, in seconds, for hooks that hang; Dovecot's own limit is a minute. New accounts
-- wait for each other's hashes, in a storm of them for a while.
local ANSWER_WITHIN = { lookup = 8, mailbox = 8, login = 8, create = 30 }

-- Without an answer Dovecot makes up a status above 9000. After these two the question may be asked again at once: the
-- hooks did not accept the connection, or ended it while they were restarted (HTTP_CLIENT_REQUEST_ERROR_* of 2.3).
local NOT_ASKED = { [9003] = true, [9005] = true }

local UNDERSTOOD = { [200] = true, [201] = true, [204] = true, [400] = true, [403] = true, [404] = true, [409] = true,
  [413] = true, [423] = true, [429] = true, [507] = true }

-- What nobody gets in with: it can't be read, may not become an account, or is blocked or suspended. (429 and 507, too
-- many guesses or no room for a new account, are for now.)
local REFUSED = { [400] = true, [403] = true, [413] = true, [423] = true }

local clients, secret = {}, nil

function script_init()
  local file, problem = io.open(SECRET_FILE)
  if not file then
    dovecot.i_error("auth.lua: " .. problem)
    return 1
  end
  secret = file:read("l")
  file:close()
  -- In the words of 2.3. A version that has others refuses them, and does with its defaults.
  for question, seconds in pairs(ANSWER_WITHIN) do
    local known, made = pcall(dovecot.http.client, {
      request_absolute_timeout_msecs = seconds * 1000,
      -- By default a client that was refused waits before its next try, with its worker, and up to a minute.
      connect_backoff_max_time_msecs = 1,
    })
    clients[question] = known and made or dovecot.http.client({})
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

-- The same, and a log entry if it can't be used. There is no pause before the second try: all logins share the workers
-- that run this. Hooks that are restarted keep their socket, so a question waits there for them.
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

-- 12 bits of a keyed hash of the password: with the network, how the hooks know the owner while others guess. Nil where Dovecot
-- has no such hash: then no guess is counted.
local function fingerprint_of(request)
  return request:var_expand("%{sha256;truncate=12,salt=" .. secret .. ":password}"):match("^%x+$")
end

-- The hash in an answer. Hashes hold nothing that JSON escapes but, in some encoders, the slash.
local function hash_in(body)
  local hash = body:match('"password"%s*:%s*"([^"]+)"')
  return hash and (hash:gsub("\\/", "/"))
end

-- `u@1.2.3.4` is `u@[1.2.3.4]`: one account, one mailbox.
local function canonical(user)
  return (user:gsub("@(%d+%.%d+%.%d+%.%d+)$", "@[%1]"))
end

-- What Dovecot has to know of a user, each name with `prefix` before it. The ids let services that run as vmail ask
-- about it; Dovecot shows others no user that has none. The quota is its own, in place of that of dovecot.conf.
-- (2.3's name for it.)
local function mailbox(user, body, prefix)
  local octets = body:match('"quota"%s*:%s*(%d+)')
  return { user = user, [prefix .. "uid"] = "vmail", [prefix .. "gid"] = "vmail",
{% if capability is defined %}
    -- Where Dovecot serves others too, dovecot.conf can't say it of our users alone.
    [prefix .. "imap_capability"] = "{{ capability }}",
{% endif %}
    [prefix .. "quota_rule"] = octets and "*:bytes=" .. octets }
end

-- Both ways to fail let Dovecot go on to its last passdb, which knows nobody. (A Lua passdb can set fields of a failed
-- login in no other way, and a result of INTERNAL_FAILURE is logged with the client's address.)
-- At once: nobody gets in with this name and password.
local function refuse()
  return dovecot.auth.PASSDB_RESULT_NEXT, "nodelay=y"
end

-- After auth_failure_delay, in which no worker waits.
local function put_off()
  return dovecot.auth.PASSDB_RESULT_NEXT, "code=temp_fail"
end

function auth_password_verify(request, password)
  local user = canonical(request.user)
  -- 2.3 has the one name, 2.4 the other. Unknown, if the program that asks for a client doesn't say.
  local login = { user = user, fingerprint = fingerprint_of(request), ip = request.rip or request.remote_ip or "" }
  local status, body = ask("lookup", login)
  if status == 404 then
    login.password = password
    status, body = ask("create", login)
    if status == 409 then
      -- Another first login came between; its password counts.
      login.password = nil
      status, body = ask("lookup", login)
    end
  end
  if status == 201 then
    -- Made with this password, a moment ago: it need not be hashed once more, and it has its day of login.
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
    -- No login fails for it; `ask` has logged why.
    ask("login", login)
  end
  return dovecot.auth.PASSDB_RESULT_OK, mailbox(user, body, "userdb_")
end

-- For whoever has not logged in: LMTP, quota-status, doveadm. A suspended account gets its mail all the same.
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
