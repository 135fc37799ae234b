"""What is nearly always right, and what never is: the inputs that all others are made from."""

import random

from metergate.core import keys
from tests.house.rules import ROOT

KEY = keys.mint("live", random.Random(1).randbytes)
ADDRESSES = (
    b"redis://ada:pl4nted@127.0.0.1:6379/0?timeout=2s&prefix=mg&shards=2",
    b"redis+unix:///run/x.sock?db=1",
    b"redis+sentinel://:pl4nted@[::1]:26379,b/money/0",
    b"rediss+cluster://a,b:7000?ssl_cert_reqs=none",
    b"postgresql://ada:pl4nted@[::1]:5432/x?sslmode=require",
    b"sqlite:////nowhere/at/all/x.sqlite",
    b"https://api.example.com:8443/v1",
    b"http://[::1]:80/",
    b"redis://[",
    b"http://[x]",
    b"redis://a:99999",
    b"http://a:99999",
    b"postgresql://a:99999/x",
    b"http://\xc4\xb1.example/",
    b"//",
    b"redis://%zz:%@h",
    b"http://a/\xff",
    b"sqlite:////nowhere/\xff",
    b"sqlite://file.sqlite",
    b"sqlite://file.sqlite/x",
)
USAGE = (
    (
        b'{"id":"x","usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,'
        b'"prompt_tokens_details":{"cached_tokens":3}}}'
    ),
    (
        b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,'
        b'"total_tokens":3}}\n\ndata: [DONE]\n\n'
    ),
    (
        b'{"type":"message","usage":{"input_tokens":5,"output_tokens":7,'
        b'"cache_read_input_tokens":2,"cache_creation":{"ephemeral_1h_input_tokens":1}}}'
    ),
    (
        b'[{"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":5,"totalTokenCount":9,'
        b'"promptTokensDetails":[{"modality":"AUDIO","tokenCount":2}]}}]'
    ),
    b'{"response":{"usage":{"input_tokens":1,"output_tokens":1}}}',
    b'{"usage":{"total":12}}',
    b"tokens: 17",
)
BODIES = (
    b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"max_tokens":16,"stream":true,"n":2}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":{}}}',
    b'{"n":3,"a":[{"b":4}],"model":"x"}',
    b'{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"maxOutputTokens":5}}',
    b'{"stream":true,"stream_options":{"include_usage":false},"messages":[]}',
    b'{"stream":true,"stream_options":{"include_usage":false},"m\xd9ssages":[]}',
    b"[]",
    b"{}",
    b"",
)
STREAMS = (
    b'data: {"a":1}\n\ndata: {"b":2}\r\n\r\nevent: x\ndata: y\n\n',
    b": ping\n\n\n\ndata:x\r\n\n",
    b"data: a\r\n\r",
    b'data: {"choices":[{"delta":{}}],"usage":null}\n\ndata: {"choices":[],"usage":{"prompt_tokens":1}}\n\n',
)
HEADERS = (
    b"authorization: Bearer " + KEY.encode() + b"\nx-api-key: k\nhost: a\ncontent-length: 3\n",
    b"connection: keep-alive, x-api-key, metergate-request-id\ntransfer-encoding: chunked\nmetergate-a: x",
    b"x-forwarded-for: 1.2.3.4\nx-real-ip: 1\nforwarded: for=1\nx_forwarded_for: 2\nexpect: 100-continue",
    b"idempotency-key: a\nidempotency-key: b\nanthropic: 1\norigin: x\naccess-control-request-method: POST",
    b"x-original-uri: /x?y\nx-original-method: GET\nx-forwarded-uri: /x",
    b"upgrade: h2c\nhttp2-settings: x\nte: trailers",
)
PATHS = (
    b"/v1/chat/completions?x=1",
    b"/a%20b/c",
    b"/%C3%A9?%",
    b"/..%2f",
    b"/a;b",
    b"//x",
    b"/./x",
    b"/%252e",
    b"/a#b",
    b"http://evil/x",
    b"/v1beta/models/x:generateContent?key=1",
    b"/a/%2E%2E/b",
    b"/~u/(x)'*!$&+,=@",
    b"*",
    b"/",
)
TEXTS = (
    b"5.00",
    b"0.000000001",
    b"2026-01-31T00:00:00Z",
    b"2026-01-31T00:00:00.123456+05:30",
    b"30d",
    b"24h",
    b"$.usage.total",
    b"$.rows[0].size",
    b"$['a b']",
    b"(\\d+)",
    b"(a+)+$",
    b"POST /v1/{id}/chat",
    b"* /**",
    b"GET /x:y",
    b"1:30",
    b"0x1f",
    b"9223372036854775807",
    b"1_000_000",
    b"tokens: ([0-9]{1,9})",
    b"tokens: ([0-9]{1,99999999999999999})",
)
BOMB = b"a: &a [x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c]\n" % (n + 1, n + 1, n, n, n, n, n, n) for n in range(97, 112)
)
MERGES = b"a: &a {x: 1}\n" + b"".join(
    b"%c: &%c {<<: [*%c, *%c, *%c, *%c]}\n" % (n + 1, n + 1, n, n, n, n) for n in range(97, 112)
)
POLICIES = [path.read_bytes() for path in sorted((ROOT / "policies").glob("*.yaml"))]
TRAPS = (
    BOMB,
    MERGES,
    b"[" * 100_000,
    b"{" * 100_000,
    b"- " * 50_000,
    b"? " * 50_000,
    b"a: &a [*a]\n",
    b"a: &a {<<: *a}\n",
    b"metergate: " + b"9" * 100_000,
    b"x: " + b"1:" * 20_000,
    b"x: " + b"1_" * 50_000,
    b"x: " + b"${" * 20_000,
    b"x: " + b"${A:-" * 20_000,
    b"&a" * 20_000,
    b"*a " * 20_000,
    b"!!" * 20_000,
    b"%YAML 9.9\n---\n",
    b"\xef\xbb\xbf",
    b"x: |\n" + b" a\n" * 50_000,
    b'"' + b"\\x41" * 50_000,
    b"'" * 100_001,
    b"#" * 500_000,
    b"\r" * 100_000,
    b"".join(b"k%d: 1\n" % n for n in range(10_000)),
    b"routes: [" + b"{match: 'GET /'}," * 8_000 + b"]",
    b"metergate: 1\nroutes:\n" + b"  - {match: 'GET /a', meter: x}\n" * 20_000,
    b"\t",
    b"---\n---\n",
    b"...\n...",
)
