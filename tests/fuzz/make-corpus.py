#!/usr/bin/env python3
"""make-corpus.py VECTORS OUT: seeds for the targets expressions and sync_config from the vectors of both engines.

One file each below OUT/expressions and OUT/sync_config, named by a hash of its content.
"""
import base64
import hashlib
import json
import os
import sys


def save(folder, data):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, hashlib.sha1(data).hexdigest()), "wb") as f:
        f.write(data)


def value(t):
    kind = t["t"]
    if kind == "b":
        return b"b" + base64.b64decode(t["v"])
    return kind.encode() + t.get("v", "").encode("utf-8", "surrogatepass")


def expression(case):
    options = b"1" if case.get("fixed_json_extract") else b"0"
    columns = [name.encode() + b"\x1f" + value(t) for name, t in case.get("row", {}).items() if t["t"] != "u"]
    return b"\x1e".join([options, case["expr"].encode("utf-8", "surrogatepass")] + columns)


def main(vectors, out):
    for folder in ("sync-config", "sync-streams", "streams-by-sql"):
        for name in sorted(os.listdir(os.path.join(vectors, folder))):
            if not name.endswith(".json"):
                continue
            with open(os.path.join(vectors, folder, name), encoding="utf-8") as f:
                cases = json.load(f)["cases"]
            for case in cases:
                if "expr" in case:
                    save(os.path.join(out, "expressions"), expression(case))
                text = case.get("yaml", case.get("config"))
                if isinstance(text, str):
                    save(os.path.join(out, "sync_config"), text.encode("utf-8", "surrogatepass"))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
