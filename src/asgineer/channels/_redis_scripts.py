"""How a channel is kept in Redis: its keys, the two scripts that touch them, what goes over pub/sub. Pure.

A channel has two keys, whose braces put them in one slot of a cluster: a stream with the messages, the id
of each being `offset-milliseconds`, and where the log ends, as `epoch offset due server`. That text
outlives the messages by a day, so that a channel that was silent for its `ttl` goes on counting and nobody
is reset for nothing. What is there is always whole: a script runs alone and all its writes go to replicas
together. A log whose text was evicted is thrown away, and another with another epoch begins.

`server` is the process that wrote last. When it is another one than now, a replica took over that may have
been behind, or a restart lost what was written last, and offsets that were given once are given again: so
the epoch changes. It is stored, and not a part of the epoch, so that it also changes when a server comes
to rule for the second time.

What listeners get is `1 epoch offset kind data`; anything else is Malformed. That data is what its kind
says is checked by the core; connections and time are `_redis`' matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._engine import Entry, History

if TYPE_CHECKING:
    from collections.abc import Sequence

    Row = tuple[bytes, Sequence[bytes]]  # an entry of a stream: its id; names and values in turn

VERSION = b"1"
# Bytes of one message; Redis itself takes 512 MiB, a pipeline of ours shall not.
MAX_MESSAGE = 16 * 1024 * 1024
MAX_READ = 4 * 1024 * 1024  # bytes of one read of history; one message more than that at most
KEPT = 24 * 60 * 60 * 1000  # milliseconds that the end of a log outlives its last message
MAX_COUNTED = 2**53  # what Lua counts to without a mistake

# Both scripts. Expired messages are taken off the front, a few at a time: nothing expires alone in a stream.
_TRIM = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function trim(log, ttl)
  while true do
    local found = redis.call('XRANGE', log, '-', '+', 'COUNT', 8)
    local dead = nil
    for _, entry in ipairs(found) do
      local offset, time = string.match(entry[1], '^(%d+)-(%d+)$')
      if time + ttl > now then
        if dead then redis.call('XTRIM', log, 'MINID', offset) end
        return offset, tonumber(time)
      end
      dead = offset
    end
    if not dead then return nil end
    redis.call('XTRIM', log, 'MINID', string.format('%.0f', dead + 1))
  end
end
"""

# KEYS: the log, its end, [what was published with this key]. ARGV: an epoch if another is needed, the
# server, the pub/sub channel, history, ttl and KEPT in milliseconds, kind, data. Returns `epoch offset`.
# Without the flag allow-oom, Redis refuses it before it began: nothing is half done.
PUBLISH = (
    "#!lua\n"
    + _TRIM
    + """
if KEYS[3] then
  local before = redis.call('GET', KEYS[3])
  if before then return before end
end
local ttl = tonumber(ARGV[5])
local epoch, offset, due = ARGV[1], 0, 0
local last = redis.call('GET', KEYS[2])
if last then
  local server
  epoch, offset, due, server = string.match(last, '^(%S+) (%d+) (%d+) (%S+)$')
  if server ~= ARGV[2] then epoch = ARGV[1] end
else
  redis.call('DEL', KEYS[1])
end
offset = string.format('%.0f', offset + 1)
local id = offset .. '-' .. string.format('%.0f', now)
redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[4], id, 'k', ARGV[7], 'd', ARGV[8])
if now >= tonumber(due) then
  -- Not for every message: as often as a tenth of the ttl.
  local _, oldest = trim(KEYS[1], ttl)
  due = math.max((oldest or now) + ttl, now + math.floor(ttl / 10))
end
local ended = epoch .. ' ' .. offset .. ' ' .. string.format('%.0f', due) .. ' ' .. ARGV[2]
redis.call('SET', KEYS[2], ended, 'PX', string.format('%.0f', ttl + ARGV[6]))
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PUBLISH', ARGV[3], '1 ' .. epoch .. ' ' .. offset .. ' ' .. ARGV[7] .. ' ' .. ARGV[8])
local place = epoch .. ' ' .. offset
if KEYS[3] then redis.call('SET', KEYS[3], place, 'PX', ARGV[5]) end
return place
"""
)

# KEYS: the log, its end. ARGV: an epoch if another is needed, the server, ttl and KEPT in milliseconds, the
# offset after which to read or '' for nothing, how many at most, how many bytes. Returns epoch, last, first,
# whether it is all, the rows. It may run when memory is short: all it adds is the end of a log that is new.
HISTORY = (
    "#!lua flags=allow-oom\n"
    + _TRIM
    + """
local last = redis.call('GET', KEYS[2])
local kept = string.format('%.0f', ARGV[3] + ARGV[4])
local epoch, offset, due, server
if last then
  epoch, offset, due, server = string.match(last, '^(%S+) (%d+) (%d+) (%S+)$')
else
  redis.call('DEL', KEYS[1])
  offset, due = '0', '0'
end
if server == ARGV[2] then
  redis.call('PEXPIRE', KEYS[2], kept, 'GT')
else
  epoch = ARGV[1]
  redis.call('SET', KEYS[2], epoch .. ' ' .. offset .. ' ' .. due .. ' ' .. ARGV[2], 'PX', kept)
end
local first = trim(KEYS[1], tonumber(ARGV[3])) or string.format('%.0f', offset + 1)
local rows, all, size = {}, 1, 0
local limit, most = tonumber(ARGV[6]), tonumber(ARGV[7])
local from = ARGV[5] ~= '' and string.format('%.0f', ARGV[5] + 1)
while from do
  local found = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 32)
  from = nil
  for _, entry in ipairs(found) do
    if #rows == limit or size > most then
      all, from = 0, nil
      break
    end
    rows[#rows + 1] = entry
    for _, part in ipairs(entry[2]) do size = size + #part end
    if #found == 32 then from = string.format('%.0f', string.match(entry[1], '^%d+') + 1) end
  end
end
return {epoch, offset, first, all, rows}
"""
)


class Malformed(Exception):
    """A message that isn't one of ours; the text says why."""


def keys_of(channel: str) -> tuple[str, str]:
    """Return the keys of a channel: its log, and where that ends."""
    # A cluster takes what stands up to the first closing brace, so a name has none there.
    tag = "{asgineer:" + channel.replace("%", "%25").replace("}", "%7D") + "}"
    return tag, tag + ":end"


def once_key(channel: str, key: str) -> bytes:
    """Return where the place of the message is kept that was published with `key`."""
    return f"{keys_of(channel)[0]}:once:{key}".encode("utf-8", "surrogatepass")


def live_channel(channel: str, database: int) -> bytes:
    """Return the channel of pub/sub, which unlike keys is the same in every database."""
    return f"asgineer:{database}:{channel}".encode()


def parse_live(payload: bytes) -> tuple[str, Entry]:
    """Return epoch and message of what came over pub/sub.

    Raises:
        Malformed: it isn't ours, or of another version.
    """
    version, *parts = payload.split(b" ", 4)
    if version != VERSION:
        raise Malformed(f"version {version[:20]!r} is not known" if parts else "it is none of ours")
    if len(parts) != 4 or not parts[1].isdigit() or not parts[0].isascii() or not parts[0]:
        raise Malformed("its head can't be read")
    epoch, offset, kind, data = parts
    return epoch.decode(), Entry(int(offset), kind.decode("ascii", "replace"), data)


def parse_history(reply: tuple[bytes, bytes, bytes, int, list[Row]]) -> History:
    """Return what HISTORY replied; an entry that isn't ours has a kind that isn't known."""
    epoch, last, first, complete, rows = reply
    entries = []
    for name, fields in rows:
        found = dict(zip(fields[::2], fields[1::2], strict=True))
        kind = found.get(b"k", b"").decode("ascii", "replace")
        entries.append(Entry(int(name.partition(b"-")[0]), kind, found.get(b"d", b"")))
    return History(epoch.decode(), entries, int(first), int(last), bool(complete))
