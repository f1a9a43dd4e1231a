#!/usr/bin/env python3
"""cases.py KIND SEED COUNT OUT: random cases in the form of the vectors, with the answers of the executable models.

KIND: expressions (OUT must be named expr-*.json), sync-config, sync-streams. The models (expressions.py, sync_config.py, sync_streams.py)
lie in the folder that the environment variable SYNCLINE_MODELS names. Cases that a model does not decide are not written.
"""
import base64
import itertools
import json
import math
import os
import random
import sys

sys.path.insert(0, os.environ.get("SYNCLINE_MODELS", "."))
import expressions as X  # noqa: E402
import sync_config as C  # noqa: E402
import sync_streams as S  # noqa: E402


def typed(v):
    if v is X.ABSENT:
        return {"t": "u"}
    if v is None:
        return {"t": "n"}
    if isinstance(v, bytes):
        return {"t": "b", "v": base64.b64encode(v).decode()}
    if isinstance(v, str):
        return {"t": "s", "v": v}
    if isinstance(v, int):
        return {"t": "i", "v": str(v)}
    if math.isnan(v) or math.isinf(v):
        return {"t": "r", "v": "NaN" if math.isnan(v) else "Infinity" if v > 0 else "-Infinity"}
    return {"t": "r", "v": repr(v)}


# ---------------------------------------------------------------- values beyond 64 bits are errors of the engine, not of the model
class Beyond(Exception):
    pass


def within_64_bits(function):
    def checked(*args):
        v = function(*args)
        if isinstance(v, int) and not -2**63 <= v < 2**63:
            raise Beyond()
        return v
    return checked


for name in ("evaluate", "cast", "arith"):
    setattr(X, name, within_64_bits(getattr(X, name)))


# ---------------------------------------------------------------- expressions
TEXTS = ["", "a", "abc", "aBc", "1", "12", "-3", "+4", "0x1F", " 7 ", "1.5", ".5", "5.", "1e3", "1.0", "x1", "0.9", "true", "é", "ß", "İ", "Σ", "ΑΣ", "😀b", "\ufffd",
         "\uffff", "a\u0000b", "null", "[1,2,\"a\"]", "[]", "[null,true,1.0]", "{\"a\":1,\"b\":{\"c\":[1,2.50]},\"n\":null,\"0\":\"z\"}", "{}", "{\"a\":",
         "[1,[2,{\"x\":1e2}]]", "\"str\"", "17", "2024-03-01", "2024-03-01T12:34:56Z", "2024-03-01 12:34:56.789", "2024-02-30", "2460370.5", "24:00",
         "1999-12-31T23:59:59.9999+05:30", "3e57f5b2-04c4-4e3f-8a4d-0123456789ab", "0101000000000000000000F03F0000000000000040", "\t9", "Infinity", "-0", "nan", "\u00a05"]
NUMBERS = [0, 1, -1, 2, 3, 7, 10, 255, 1000, 2**53, 2**53 + 1, -2**53 - 1, 2**63 - 1, -2**63, 1700000000, 0.0, -0.0, 0.5, -2.5, 1.0, 1e21, 1e-7, 123456.789, 2.0**53, 9.3e18, 1e300,
           float("nan"), float("inf"), float("-inf")]
COLUMNS = ["a", "b", "c", "j", "n", "r"]


def random_value(rnd):
    k = rnd.random()
    if k < 0.12:
        return None
    if k < 0.5:
        return rnd.choice(TEXTS)
    if k < 0.92:
        return rnd.choice(NUMBERS)
    return rnd.choice([b"", b"abc", b"\xff\x00", b"\xef\xbb\xbfx", bytes(16), bytes.fromhex("0101000000000000000000F03F0000000000000040")])


def quote(s):
    return "'" + s.replace("'", "''") + "'"


def literal(rnd):
    k = rnd.random()
    if k < 0.1:
        return "NULL"
    if k < 0.2:
        return rnd.choice(["true", "false"])
    if k < 0.55:
        return rnd.choice(["0", "1", "2", "-1", "3", "10", "1.5", "-2.5", ".5", "5.", "9007199254740993", "100000"])
    return quote(rnd.choice([t for t in TEXTS if "\x00" not in t and "\uffff" not in t]))


FUNCTION_ARGS = {"upper": 1, "lower": 1, "hex": 1, "length": 1, "base64": 1, "uuid_blob": 1, "typeof": 1, "ifnull": 2, "iif": 3, "instr": 2, "json_extract": 2,
                 "json_array_length": 1, "json_valid": 1, "json_keys": 1, "unixepoch": 1, "datetime": 1, "st_asgeojson": 1, "st_astext": 1, "st_x": 1, "st_y": 1, "substring": 3}


def expression(rnd, depth, column):
    def sub():
        return expression(rnd, depth - 1, column)
    k = rnd.random()
    if depth <= 0 or k < 0.12:
        return column() if rnd.random() < 0.7 else literal(rnd)
    if k < 0.34:
        return "(%s %s %s)" % (sub(), rnd.choice(["=", "!=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "||", "AND", "OR"]), sub())
    if k < 0.40:
        return "%s %s %s" % (sub(), rnd.choice(["=", "<", "+", "||", "AND", "OR", "*"]), sub())
    if k < 0.46:
        return rnd.choice(["NOT (%s)", "(%s) IS NULL", "(%s) IS NOT NULL"]) % sub()
    if k < 0.56:
        return rnd.choice(["CAST(%s AS %s)", "(%s)::%s"]) % (sub(), rnd.choice(["text", "integer", "real", "numeric", "blob"]))
    if k < 0.66:
        return "(%s) %s %s" % (sub(), rnd.choice(["->", "->>"]), quote(rnd.choice(["a", "b", "$.a", "$.b.c", "$.b.c.1", "0", "1", "$", "$.x", "b.c", "n", "$.n", ""])))
    if k < 0.72:
        return "(%s IN %s)" % (sub(), rnd.choice([column(), quote("[1,2,\"a\",null,1.5]"), "(%s)" % sub()]))
    name = rnd.choice(list(FUNCTION_ARGS))
    count = FUNCTION_ARGS[name]
    if rnd.random() < 0.2:
        count += rnd.choice([-1, 1, 1])
    if name == "substring":
        count = max(count, 2)
    args = [sub() for _ in range(max(count, 0))]
    if name == "json_extract" and len(args) > 1 and rnd.random() < 0.8:
        args[1] = quote(rnd.choice(["$.a", "$.b.c", "$.b.c.0", "$", "$.0", "a", "$.n"]))
    if name in ("datetime", "unixepoch") and rnd.random() < 0.4:
        args = args[:1] + [quote(rnd.choice(["unixepoch", "subsec", "subsecond", "x"]))]
    return "%s(%s)" % (name, ", ".join(args))


def expression_case(rnd, n):
    row = {c: random_value(rnd) for c in COLUMNS if rnd.random() < 0.85}
    text = expression(rnd, rnd.choice([1, 2, 2, 3, 4]), lambda: rnd.choice(COLUMNS))
    case = {"name": "random-%d" % n, "expr": text, "row": {k: typed(v) for k, v in row.items()}}
    if rnd.random() < 0.5:
        case["fixed_json_extract"] = True
    fixed = case.get("fixed_json_extract", False)
    try:
        try:
            node = X.parse("SELECT 'x' AS id, " + text + " AS v FROM t")["columns"][1]["expr"]
            X.check(node, fixed=fixed)
        except X.SqlError as e:
            case["expect"] = {"rejected": e.cls}
            if e.cls == "static_evaluation_failed":
                case["tags"] = ["superset-ok"]  # what counts as static is free where = joins constants (sync-config 13)
            return case if rnd.random() < 0.3 else None
        try:
            v = X.evaluate(node, row, fixed)
        except X.EvalError:
            case["expect"] = {"error": True}
            return case
    except (Beyond, X.Skip, OverflowError, RecursionError):
        return None
    case["expect"] = {"value": typed(v), "truth": X.truth(None if v is X.ABSENT else v)}
    if v is not X.ABSENT and v is not None and not isinstance(v, bytes):
        case["expect"]["text"] = X.text(v)
        case["expect"]["json"] = X.json_write(v)
    return case


# ---------------------------------------------------------------- sync config
CELLS = ["x", "y", "u1", "u2", 1, 2, 5.0, 2.5, None, "[\"x\",\"u1\"]", "[1,2,2]", "[]", "{\"k\":\"x\"}", "[true,null,{\"a\":1}]", b"\x01"]
TABLES = {"t": ["a", "b", "c", "arr"], "m": ["k", "u", "f", "arr"]}
REQUEST = ["request.user_id()", "token_parameters.p", "token_parameters.n", "user_parameters.p", "request.parameter('p')", "request.jwt() ->> 'p'", "token_parameters.user_id"]


def row_condition(rnd, columns):
    c = rnd.choice(columns)
    return rnd.choice(["%s = 'x'", "%s IS NOT NULL", "%s IS NULL", "%s > 1", "%s = 1", "%s != 'y'", "NOT %s", "typeof(%s) = 'text'", "length(%s) = 1", "%s", "%s ->> 'k' = 'x'",
                       "upper(%s) = 'X'"]) % c


def condition(rnd, depth, columns, match):
    k = rnd.random()
    if depth <= 0 or k < 0.45:
        return match() if rnd.random() < 0.6 else row_condition(rnd, columns)
    return "(%s %s %s)" % (condition(rnd, depth - 1, columns, match), "AND" if k < 0.85 else "OR", condition(rnd, depth - 1, columns, match))


def data_query(rnd, names):
    table = rnd.choice(list(TABLES))
    columns = TABLES[table]

    def match():
        p = "bucket." + rnd.choice(names) if names else "bucket.p"
        return rnd.choice(["%s = %s" % (rnd.choice(columns), p)] * 4 + ["%s = %s" % (p, rnd.choice(columns)), "%s IN arr" % p, "%s = upper(%s)" % (p, rnd.choice(columns))])
    star = rnd.choice(["*", "id, a, b", "id, *", "*, upper(id) AS u", "id, typeof(%s) AS ty, %s AS v" % (columns[0], columns[1]), "NULL AS %s, *" % columns[0], "id AS id, 1 AS one",
                       "a || '-' AS id, %s ->> 'k' AS k" % columns[-1], "b"])
    alias = rnd.choice(["", "", "", " AS other", " Other"])
    where = ""
    if names and rnd.random() < 0.9:
        parts = [rnd.choice(["%s = bucket.%s" % (rnd.choice(columns), n), "bucket.%s IN arr" % n]) for n in names]
        if rnd.random() < 0.5:
            parts.append(condition(rnd, 1, columns, match))
        where = " WHERE " + " AND ".join(parts)
        if rnd.random() < 0.15:
            where += " OR " + condition(rnd, 1, columns, match)
    elif rnd.random() < 0.5:
        where = " WHERE " + condition(rnd, 2, columns, match)
    pattern = rnd.choice([table] * 8 + [table + "%", "public." + table, "other." + table])
    return "SELECT %s FROM %s%s%s" % (star, '"%s"' % pattern if "%" in pattern else pattern, alias, where)


def parameter_query(rnd, names):
    k = rnd.random()
    if k < 0.35:
        values = rnd.choice(["%s", "%s", "upper(%s)", "%s || 'x'", "1"])
        cols = ", ".join("%s AS %s" % ((values % rnd.choice(REQUEST)) if "%s" in values else values, n) for n in names)
        where = rnd.choice(["", "", " WHERE %s = 'x'", " WHERE %s", " WHERE %s IS NOT NULL AND token_parameters.flag"])
        return "SELECT %s%s" % (cols, where % rnd.choice(REQUEST) if "%s" in where else where)
    if k < 0.5:
        cols = ", ".join("%s AS %s" % (rnd.choice(["value", "e.value", "key", "upper(value)", "request.user_id()"]), n) for n in names)
        return "SELECT %s FROM json_each(%s) AS e%s" % (cols, rnd.choice(["token_parameters.arr", "request.parameters() -> 'arr'", "request.jwt() -> 'parameters' -> 'arr'"]),
                                                        rnd.choice(["", "", " WHERE value = 'x'", " WHERE e.key > 0", " WHERE value = request.user_id()"]))
    table = rnd.choice(list(TABLES))
    columns = TABLES[table]

    def match():
        r = rnd.choice(REQUEST)
        return rnd.choice(["%s = %s" % (rnd.choice(columns), r)] * 5 + ["%s IN token_parameters.arr" % rnd.choice(columns), "%s IN arr" % r, "token_parameters.flag", "%s = %s" % (r, rnd.choice(columns)),
                                                                       "token_parameters.p = 'x'"])
    cols = ", ".join("%s AS %s" % (rnd.choice(columns + ["id"]) if rnd.random() < 0.8 else rnd.choice(REQUEST), n) for n in names)
    where = " WHERE %s" % condition(rnd, rnd.choice([0, 1, 2]), columns, match) if rnd.random() < 0.95 else ""
    return "SELECT %s FROM %s%s" % (cols, table, where)


def config_text(rnd):
    out = "config:\n  edition: %d\n" % rnd.choice([1, 2]) if rnd.random() < 0.7 else ""
    if out and rnd.random() < 0.4:
        out += "  fixed_json_extract: %s\n" % rnd.choice(["true", "false"])
    out += "bucket_definitions:\n"
    for i in range(rnd.choice([1, 1, 2])):
        names = rnd.choice([[], ["p"], ["p"], ["p"], ["p", "q"]])
        out += "  d%d:\n" % i
        if rnd.random() < 0.2:
            out += "    priority: %d\n" % rnd.randrange(4)
        if rnd.random() < 0.5:
            out += "    accept_potentially_dangerous_queries: true\n"
        if names or rnd.random() < 0.5:
            out += "    parameters:\n"
            for _ in range(rnd.choice([1, 1, 2])):
                q = parameter_query(rnd, names) if names else rnd.choice(["SELECT", "SELECT WHERE token_parameters.flag", "SELECT FROM m WHERE u = request.user_id()"])
                out += "      - %s\n" % json.dumps(q)
        out += "    data:\n"
        for _ in range(rnd.choice([1, 1, 2])):
            out += "      - %s\n" % json.dumps(data_query(rnd, names))
    if rnd.random() < 0.1:
        out += "event_definitions:\n  ev:\n    payloads: [%s]\n" % json.dumps("SELECT id, a AS x, * FROM t")
    return out


def config_case(rnd, n):
    case = {"name": "random-%d" % n, "yaml": config_text(rnd)}
    try:
        cfg = C.Config(case["yaml"])
        if any(d["class"] in ("internal_error", "load_crash") for d in cfg.diags):
            return None
        expect = {"loads": cfg.loads, "diagnostics": cfg.diags}
        case["expect"] = expect
        if not cfg.loads:
            return case if rnd.random() < 0.25 else None
        expect["bucket_definitions"] = [{"name": d.name, "parameters": d.params} for d in cfg.definitions]
        expect["rows"], expect["requests"], store = [], [], {}
        for table, columns in TABLES.items():
            for i in range(4):
                row = {"id": rnd.choice(["%s%d" % (table, i), "%s%d" % (table, i), i, None])}
                row.update({c: rnd.choice(CELLS) for c in columns if rnd.random() < 0.95})
                row["arr"] = rnd.choice([None, "[]", "[\"x\",\"u1\"]", "[\"y\",\"y\",1]", "[2.5,5.0]", "x"]) if rnd.random() < 0.8 else rnd.choice(CELLS)
                name = {"connection": "default", "schema": rnd.choice(["public"] * 5 + ["other"]), "name": rnd.choice([table] * 5 + [table + "x"])}
                got = cfg.evaluate_row(name, row)
                expect["rows"].append({"table": name, "row": {k: typed(v) for k, v in row.items()}, "data": got["data"], "data_errors": got["data_errors"],
                                       "parameters": [{k: x[k] for k in ("lookup", "bucket_parameters")} for x in got["parameters"]],
                                       "parameter_errors": got["parameter_errors"], "events": got["events"]})
                seen = set()
                for x in got["parameters"]:
                    if x["lookup"] not in seen:
                        seen.add(x["lookup"])
                        store.setdefault(x["lookup"], []).append(x["stored"])
        for i in range(3):
            token = {"sub": rnd.choice(["u1", "u2", "x"]), "p": rnd.choice(["x", 1, None]),
                     "parameters": {"p": rnd.choice(["x", "y", 1, 2.5, None, True]), "n": rnd.choice([1, 2, "2"]), "flag": rnd.choice([0, 1, True]),
                                    "arr": rnd.choice([[], ["x", "y"], ["u1", 1, None], [True, {"a": 1}], "x"])}}
            client = {"p": rnd.choice(["x", "u1", 1]), "arr": rnd.choice([["x"], ["y", 2], [], [1.5, "x", "x"]])}
            request = {"token": json.dumps(token), "client_parameters": json.dumps(client)}
            try:
                request.update(cfg.request(request["token"], request["client_parameters"], store))
            except C.EvalError:
                request["error"] = True
            expect["requests"].append(request)
        return case
    except (Beyond, X.Skip, OverflowError):
        return None


# ---------------------------------------------------------------- sync streams, and what their SQL delivers by trying all combinations
captured = []
model_variant = S.Variant.__init__


def variant(self, primary, atoms):
    model_variant(self, primary, atoms)
    captured.append((primary, list(atoms)))


S.Variant.__init__ = variant


def sources(atoms):
    out = []
    for e in atoms:
        for x in S.leaves(e):
            if x[0] != "req" and x[1] not in out:
                out.append(x[1])
    return out


def delivered(primary, atoms, tables, request):
    """Ids of rows of the primary table for which the term holds for some choice of a row for every other source."""
    others = [s for s in sources(atoms) if s is not primary]
    chosen = [primary] + [s for s in others if s.kind == "table"]
    functions = [s for s in others if s.kind == "func"]
    out = set()
    for rows in itertools.product(*[tables[t.name] for t in chosen]):
        if rows[0]["id"] in out:
            continue
        env = dict(request)
        for t, row in zip(chosen, rows):
            env[t] = {"row": row, "schema": "public", "table_name": t.name, "table_suffix": ""}
        try:
            lists = [S.json_each(S.ev(f.args[0], env), True) for f in functions]
        except S.EvalError:
            continue
        for elements in itertools.product(*lists):
            env.update(zip(functions, elements))
            if all(S.truth(S.ev(a, env)) for a in atoms):
                out.add(rows[0]["id"])
                break
    return out


def merged_elements(atoms):
    """Do two conditions look into the same array? Their keys are one (sync-streams 4.6), so both must hold for one element: less than the SQL says."""
    signatures = [S.func_sig(s) for s in sources(atoms) if s.kind == "func"]
    return len(signatures) != len(set(map(repr, signatures)))


def json_text(x):
    return S.json_write(S.doubles(x))


def delivered_to(engine, terms, tables, request):
    body, token = request["request"], request["token"]
    streams = body.get("streams") or {}
    default = streams.get("include_defaults")
    ids = set()
    for s in engine.streams:
        subscriptions = [json_text(x.get("parameters") or {}) for x in streams.get("subscriptions") or [] if x.get("stream") == s.name]
        if s.default and default is not False:
            subscriptions.append(None)
        for sub in subscriptions:
            env = {"auth": json_text(token), "connection": json_text(body.get("parameters") or {}), "subscription": sub, "fixed": True}
            for primary, atoms in terms[s.name]:
                ids |= delivered(primary, atoms, tables, env)
    return sorted(ids)


def streams_case(rnd, n):
    case = S.random_case(rnd, n)
    if not case["accepted"]:
        return case if rnd.random() < 0.1 else None
    captured.clear()
    engine = S.Engine(case["config"])
    terms, at = {}, 0
    for s in sorted(engine.streams, key=lambda s: s.name):  # as in the file
        terms[s.name] = captured[at:at + s.counter]
        at += s.counter
    if at != len(captured) or any(merged_elements(atoms) for _, atoms in captured):
        return None
    tables = {"t": [], "m": [], "h": []}
    for r in case["rows"]:
        tables[r["table"]].append({k: S.from_typed(v) for k, v in r["record"].items()})
    for request in case["requests"]:
        if "fails" in request["expect"] or any(s["errors"] for s in request["expect"]["streams"]):
            continue
        try:
            request["delivered"] = delivered_to(engine, terms, tables, request)
        except S.EvalError:
            pass
    # The model may name more buckets than the SQL (sync-streams 9): without the rows there is nothing to hold against it.
    case["requests"] = [r for r in case["requests"] if "delivered" in r or "fails" in r["expect"] or not r["expect"]["has_dynamic"]]
    return case


KINDS = {"expressions": expression_case, "sync-config": config_case, "sync-streams": streams_case}


def main(kind, seed, count, out):
    rnd = random.Random(seed)
    done = 0
    with open(out, "w", encoding="utf-8") as f:
        f.write('{"about": "random cases of the model, seed %d", "cases": [\n' % seed)
        while done < count:
            case = KINDS[kind](rnd, done)
            if case is None:
                continue
            f.write((",\n" if done else "") + json.dumps(case))
            done += 1
        f.write("\n]}\n")


if __name__ == "__main__":
    if len(sys.argv) != 5 or sys.argv[1] not in KINDS:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
