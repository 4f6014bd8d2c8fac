-- {{ ansible_managed }}
-- Dovecot's passdb and userdb (2.3 and 2.4): asks chatmail-hooks on loopback. Whether an account may be made,
-- how its password is hashed and what is remembered is decided there, in Python. A password is sent there only
-- to make an account; that of an existing one is compared here, by Dovecot's own code.
-- An answer that is not understood is a temporary failure: nobody is let in or turned away by it. A question that the
-- hooks refuse to read (400, 413: a password that is not UTF-8, or too long) is answered at once: nobody has such a password.
-- https://doc.dovecot.org/2.3/configuration_manual/authentication/lua_based_authentication/

local HOOKS = "http://127.0.0.1:{{ chatmail_hooks_port }}/dovecot/"
local SECRET_FILE = "/etc/chatmail/hooks.secret"

-- A login waits for hooks that are away, in seconds: they may just be restarted. Of SMTP much longer. Postfix 3.7
-- takes Dovecot's "temporary failure" for a wrong password (535, and an app asks its user for another), but says
-- 454 where it hears nothing for 10 s.
local PATIENCE, SMTP_PATIENCE = 3, 12
-- How long each question may take, in seconds, for hooks that hang; Dovecot's own limit is a minute. New accounts
-- wait for each other's hashes, in a storm of them for a while.
local ANSWER_WITHIN = { lookup = 8, mailbox = 8, login = 8, create = 30 }

local UNDERSTOOD = { [200] = true, [201] = true, [204] = true, [400] = true, [403] = true, [404] = true, [409] = true,
  [413] = true, [423] = true, [429] = true, [507] = true }

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
    local known, made = pcall(dovecot.http.client, { request_absolute_timeout_msecs = seconds * 1000 })
    clients[question] = known and made or dovecot.http.client({})
  end
  return 0
end

-- A JSON string (RFC 8259, 7): quotes, backslashes and control characters are escaped.
local function quoted(text)
  return '"' .. text:gsub('[%c"\\]', function(c) return string.format("\\u%04x", c:byte()) end) .. '"'
end

-- Status and body of the hooks' answer. Where there was none, Dovecot makes up a status above 9000.
local function ask_once(question, body)
  local request = clients[question]:request({ url = HOOKS .. question, method = "POST" })
  request:add_header("Content-Type", "application/json")
  request:add_header("X-Chatmail-Secret", secret)
  request:set_payload(body)
  local response = request:submit()
  return response:status(), response:payload() or ""
end

-- The same, again each second until `patience` seconds are over. (Lua itself can't sleep; the worker that runs
-- this does nothing else meanwhile. So only hooks that are away or fail are asked again: then nobody can log in, and
-- no client can bring it about. What the hooks do answer is final, whatever a client sent.)
local function ask(question, body, patience)
  local give_up = os.time() + patience
  local status, answer = ask_once(question, body)
  while not UNDERSTOOD[status] and os.time() < give_up do
    os.execute("sleep 1")
    status, answer = ask_once(question, body)
  end
  if not UNDERSTOOD[status] then
    dovecot.i_error("auth.lua: hooks answered " .. question .. " with " .. status)
  end
  return status, answer
end

-- Whether there is `user`, and may log in from `ip`.
local function lookup(user, ip, patience)
  return ask("lookup", '{"user": ' .. quoted(user) .. ', "ip": ' .. quoted(ip) .. "}", patience)
end

local function create(user, ip, password, patience)
  local what = '{"user": ' .. quoted(user) .. ', "ip": ' .. quoted(ip) .. ', "password": ' .. quoted(password)
  return ask("create", what .. "}", patience)
end

-- Only the day of the last login is kept, and only the day's first is told. No login fails for it; `ask` has
-- logged why.
local function remember_login(user)
  ask("login", '{"user": ' .. quoted(user) .. "}", 0)
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
    [prefix .. "quota_rule"] = octets and "*:bytes=" .. octets }
end

function auth_password_verify(request, password)
  local user = canonical(request.user)
  -- 2.3 has the one name, 2.4 the other. Unknown, if the program that asks for a client doesn't say.
  local ip = request.rip or request.remote_ip or ""
  -- 2.3 has the one name, 2.4 the other, here too.
  local patience = (request.service or request.protocol) == "smtp" and SMTP_PATIENCE or PATIENCE
  local status, body = lookup(user, ip, patience)
  if status == 404 then
    status, body = create(user, ip, password, patience)
    if status == 400 or status == 403 or status == 413 then
      return dovecot.auth.PASSDB_RESULT_USER_UNKNOWN, ""
    elseif status == 409 then
      -- Another first login came between; its password counts.
      status, body = lookup(user, ip, patience)
    end
  end
  if status == 507 then
    return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE, "no room for new accounts"
  end
  if status == 429 then
    return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE, "too many new accounts from this address"
  end
  if status == 423 then
    -- Blocked or suspended, whatever the password.
    return dovecot.auth.PASSDB_RESULT_USER_DISABLED, ""
  end
  if status == 201 then
    -- Made with this password, a moment ago: it need not be hashed once more, and it has its day of login.
    return dovecot.auth.PASSDB_RESULT_OK, mailbox(user, body, "userdb_")
  end
  local hash = status == 200 and hash_in(body)
  local matches = hash and request:password_verify(hash, password)
  if matches == 0 then
    return dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH, ""
  elseif matches ~= 1 then
    return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE, "hooks away, or hash not understood"
  end
  if not body:match('"seen"%s*:%s*true') then
    remember_login(user)
  end
  return dovecot.auth.PASSDB_RESULT_OK, mailbox(user, body, "userdb_")
end

-- For whoever has not logged in: LMTP, quota-status, doveadm. Not patient, for they tell Postfix "later" rightly. A
-- suspended account gets its mail all the same.
function auth_userdb_lookup(request)
  local user = canonical(request.user)
  local status, body = ask("mailbox", '{"user": ' .. quoted(user) .. "}", 0)
  if status == 200 then
    return dovecot.auth.USERDB_RESULT_OK, mailbox(user, body, "")
  elseif status == 404 then
    return dovecot.auth.USERDB_RESULT_USER_UNKNOWN, ""
  end
  return dovecot.auth.USERDB_RESULT_INTERNAL_FAILURE, "hooks away"
end
