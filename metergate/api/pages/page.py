"""From an OpenAPI document of ours to HTML. Every text of it is escaped here."""

import json
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any, Final

Json = Mapping[str, Any]
REF: Final = "#/components/schemas/"
EXAMPLES: Final = {"string": "", "integer": 0, "boolean": False, "array": [], "object": {}}


HEAD: Final = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="docs/page.css"><script src="docs/page.js" defer></script></head>
<body data-place="{place}"><header><h1>{title}</h1>
<p><a href="openapi.json">openapi.json</a></p>
<p class="needs-script"><label>Token or key <input id="secret" type="password" autocomplete="off"></label>
It is kept in this page only.</p></header><main>"""


def html(document: Json, place: str) -> str:
    """The page; `place` is the path at which the API itself has it, wherever that is mounted."""
    title = f"{document['info']['title']} {document['info']['version']}"
    schemas = document["components"]["schemas"]
    parts = [
        HEAD.format(title=escape(title), place=escape(place)),
        *_operations(document["paths"], schemas),
        "<h2>Bodies</h2>",
        *(_schema(name, schema) for name, schema in sorted(schemas.items())),
        "</main></body></html>\n",
    ]
    return "\n".join(parts)


def _operations(paths: Json, schemas: Json) -> Iterator[str]:
    by_tag: dict[str, list[str]] = {}
    for path, methods in paths.items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(path, method, operation, schemas))
    for tag, operations in by_tag.items():
        yield f"<h2>{escape(tag)}</h2>"
        yield from operations


def _operation(path: str, method: str, operation: Json, schemas: Json) -> str:
    body = operation.get("requestBody")
    name = f'<b class="{method}">{method.upper()}</b> <code>{escape(path)}</code>'
    parts = [
        f'<details id="{escape(operation["operationId"])}">',
        f"<summary>{name} {escape(operation['summary'])}</summary>",
        *_parameters(operation.get("parameters", [])),
        *([f"<p>Body: {_of_content(body['content'])}</p>"] if body else []),
        _answers(operation["responses"]),
        _form(path, method, operation, schemas),
        "</details>",
    ]
    return "\n".join(parts)


def _parameters(parameters: Iterable[Json]) -> Iterator[str]:
    rows = [
        (_code(each["name"]), each["in"], _type(each["schema"]), escape(each.get("description", "")))
        for each in parameters
    ]
    if rows:
        yield _table(("parameter", "in", "type", ""), rows)


def _answers(responses: Json) -> str:
    rows = [
        (escape(status), escape(each["description"]), _of_content(each.get("content", {})))
        for status, each in responses.items()
    ]
    return _table(("answer", "", "body"), rows)


def _form(path: str, method: str, operation: Json, schemas: Json) -> str:
    """What the script sends."""
    fields = [
        f'<label>{escape(each["name"])} <input name="{escape(each["name"])}" data-in="{each["in"]}"></label>'
        for each in operation.get("parameters", [])
    ]
    if "requestBody" in operation:
        example = json.dumps(_example(operation["requestBody"]["content"], schemas), indent=2)
        fields.append(f'<textarea name="" rows="8" data-in="body">{escape(example)}</textarea>')
    return (
        f'<form class="needs-script" data-method="{method.upper()}" data-path="{escape(path)}">'
        f"{''.join(fields)}<button>Send</button><pre></pre></form>"
    )


def _example(content: Json, schemas: Json) -> object:
    """A body with what has to be in it."""
    [media] = content.values()
    schema = media["schema"]
    schema = next(iter(schema.get("anyOf", [schema])))
    model = schemas[schema["$ref"].removeprefix(REF)]
    properties = model.get("properties", {})
    return {name: _sample(properties[name]) for name in model.get("required", [])}


def _sample(schema: Json) -> object:
    if "examples" in schema:
        return schema["examples"][0]
    one = next(iter(schema.get("anyOf", [schema])))
    return EXAMPLES.get(one.get("type", ""), "")


def _schema(name: str, schema: Json) -> str:
    required = schema.get("required", [])
    rows = [
        (
            _code(field),
            _type(each),
            "required" if field in required else "",
            escape(each.get("description", "")),
        )
        for field, each in schema.get("properties", {}).items()
    ]
    told = escape(schema.get("description", ""))
    table = _table(("field", "type", "", ""), rows)
    return (
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"<p>{told}</p>{table}</details>"
    )


def _of_content(content: Json) -> str:
    return ", ".join(f"{_type(media['schema'])} as {escape(kind)}" for kind, media in content.items())


def _type(schema: Json) -> str:
    """A type in a few words; a model is a link to its fields."""
    if "$ref" in schema:
        name = escape(schema["$ref"].removeprefix(REF))
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_type(schema['additionalProperties'])}"
    return escape(str(schema.get("type", "anything")))


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = "".join(f"<th>{escape(each)}</th>" for each in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{lines}</table>"
