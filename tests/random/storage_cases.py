#!/usr/bin/env python3
"""storage_cases.py SEED COUNT FOLDER: random scenarios in the form of the storage vectors, with the answers of the executable model.

The model (storage.py, in the mode that has the rules of this service) lies in the folder that the environment variable SYNCLINE_MODELS names.
Scenarios both-* have one stream and are for every store; shared-* have several, of all storage versions, truncate and drop tables, and
identify rows in all ways: they are for the shared layouts. Requests and what depends on when a writer was closed are left to other tests.
"""
import json
import os
import random
import sys

sys.path.insert(0, os.environ.get("SYNCLINE_MODELS", "."))
import storage as M  # noqa: E402

DEFINITIONS = [
    ("global", None, ["SELECT id, title FROM notes"]),
    ("flagged", None, ["SELECT id, title FROM notes WHERE kind = 'x'", "SELECT id, name FROM items"]),
    ("by_owner", ["SELECT request.user_id() AS owner"], ["SELECT id, owner, title FROM notes WHERE notes.owner = bucket.owner"]),
    ("by_team", ["SELECT team_id FROM members WHERE user_id = request.user_id()"],
     ["SELECT id, team_id, title FROM notes WHERE notes.team_id = bucket.team_id", "SELECT * FROM items WHERE items.team_id = bucket.team_id"]),
    ("twice", ["SELECT team_id FROM members WHERE user_id = request.user_id()", "SELECT id AS team_id FROM items WHERE owner = request.user_id()"],
     ["SELECT * FROM members AS people WHERE people.team_id = bucket.team_id"]),
]
TABLES = {"notes": ("id", "title", "owner", "team_id", "kind"), "items": ("id", "name", "team_id", "owner"), "members": ("id", "user_id", "team_id")}
OWNERS = ["ann", "bob", None, "", "é\"\\"]
TEAMS = [{"int": "1"}, {"real": 1.0}, "1", {"int": "2"}, None, {"real": 2.5}, {"int": "-9007199254740993"}]
TEXTS = ["a", "b", "ü", "\u2028", "x" * 40, None, {"int": "7"}, {"real": 1e21}, {"hex": "00ff"}]


def config_of(rnd):
    out = "bucket_definitions:\n"
    for name, parameters, data in rnd.sample(DEFINITIONS, rnd.randint(2, len(DEFINITIONS))):
        out += "  %s:\n" % name
        if parameters:
            out += "    parameters:\n" + "".join("      - %s\n" % q for q in parameters)
        out += "    data:\n" + "".join("      - %s\n" % q for q in data)
    return out + "# %d\n" % rnd.randrange(10**9)


class Stream:
    def __init__(self, name, writer, suffix):
        self.name, self.writer, self.suffix, self.tables, self.checkpoints = name, writer, suffix, {}, []


class Scenario:
    def __init__(self, rnd, name, shared):
        self.rnd, self.name, self.shared, self.steps, self.runner = rnd, name, shared, [], M.Runner(True)
        self.streams, self.lsn, self.records = [], 16, 0
        compact = self.runner.store.compact
        # One operation is enough of a leading run here, as on MongoDB storage.
        self.runner.store.compact = lambda *a, **k: compact(*a, **{**k, "at_least": 1})

    def do(self, what, **arguments):
        answer = getattr(self.runner, "do_" + what)(**arguments)
        step = {"do": what, **arguments}
        if answer is not None:
            step["expect"] = answer
        self.steps.append(step)
        return answer

    def where(self, s, **arguments):
        """Names the stream or its writer, but for the first one."""
        return arguments if s is self.streams[0] else {**arguments, "stream": s.name}

    def by(self, s, **arguments):
        return arguments if s is self.streams[0] else {**arguments, "writer": s.writer}

    def model(self, s):
        return self.runner.s(s.name)

    # ---- streams and tables
    def deploy(self):
        n = len(self.streams) + 1
        s = Stream("s%d" % n, "w%d" % n, "" if n == 1 else str(n))
        version = self.rnd.choice([1, 2, 3]) if self.shared else 2
        self.do("deploy", config=config_of(self.rnd), storage_version=version, **({} if n == 1 else {"as": s.name}))
        self.streams.append(s)
        s.images = self.rnd.random() < 0.85
        self.do("writer", **({} if n == 1 else {"as": s.writer, "stream": s.name}), **({} if s.images else {"store_current_data": False}))
        for table in TABLES:
            self.resolve(s, table)
        self.do("mark_all_snapshot_done", no_checkpoint_before="%08X/%08X" % (0, self.lsn + self.rnd.choice([0, 0, 0, 40])), **self.by(s))

    def resolve(self, s, table, again=False):
        self.records += 1
        alias = table + s.suffix + ("_%d" % self.records if again else "")
        complete = table in s.tables and s.tables[table][1]
        if not again:
            complete = self.rnd.random() < 0.2
        old = s.tables.get(table)
        self.do("resolve_table", name=table, object_id=1000 + (self.records if again else list(TABLES).index(table)),
                replica_id_columns=[{"name": "id", "type": "text", "type_oid": 25}], new_id="65a1f0c2b7d84e1f9a3c%04x" % self.records,
                **{"as": alias}, **({"sends_complete_rows": True} if complete else {}), **self.by(s))
        s.tables[table] = (alias, complete)
        if again:
            self.do("drop", tables=[old[0]], **self.by(s))

    # ---- rows
    def key(self, table):
        n = self.rnd.randrange(8)
        if self.shared and table == "items":
            return [{"int": str(n)}, "raw%d" % n, {"real": n + 0.5}][n % 3]
        return {"key": {"id": "%s%d" % (table[0], n)}}

    def row(self, table, partial):
        rnd, row = self.rnd, {}
        for column in TABLES[table]:
            row[column] = ("n%d" % rnd.randrange(5) if column == "id" else
                           rnd.choice(OWNERS) if column in ("owner", "user_id") else rnd.choice(TEAMS) if column == "team_id" else
                           rnd.choice(["x", "y", None]) if column == "kind" else rnd.choice(TEXTS))
            if partial and column != "id" and rnd.random() < 0.3:
                row[column] = {"toast": True}
        return row

    def save(self, s):
        table = self.rnd.choice(list(TABLES))
        alias, complete = s.tables[table]
        tag = self.rnd.choice(["insert"] * 4 + ["update"] * 5 + ["delete"] * 3)
        step = {"table": alias, "tag": tag}
        if tag == "delete":
            step["before_id"] = self.key(table)
        else:
            step["after"] = self.row(table, tag == "update" and s.images and not complete and self.rnd.random() < 0.4)
            step["after_id"] = self.key(table)
            if tag == "update" and self.rnd.random() < 0.25:
                step["before_id"] = self.key(table)
        self.do("save", **self.by(s, **step))

    # ---- checkpoints
    def commit(self, s):
        self.lsn += self.rnd.randint(1, 20)
        # Back behind the last one, if there is something to be kept for the next one.
        back = self.rnd.random() < 0.1 and self.runner.w(s.writer).queue
        lsn = self.lsn - (self.rnd.randint(20, 60) if back else 0)
        quiet = {"create_empty": False} if self.shared and self.rnd.random() < 0.3 else {}
        self.do("commit", lsn="%08X/%08X" % (0, max(lsn, 1)), **quiet, **self.by(s))
        if self.model(s).checkpoint is not None:
            self.do("checkpoint", **self.where(s))
            s.checkpoints = s.checkpoints[-3:] + [str(self.model(s).checkpoint)]

    def another_writer(self, s):
        """The former one has nothing that it alone knows."""
        writer = self.runner.w(s.writer)
        if writer.queue or writer.persisted is not None or self.model(s).pending is not None or self.model(s).state != "ACTIVE":
            return
        first = s is self.streams[0]
        self.do("close_writer", **self.by(s))
        self.do("writer", **({} if first else {"as": s.writer, "stream": s.name}), **({} if s.images else {"store_current_data": False}))

    def look(self, s, at=None):
        model, extra = self.model(s), {} if at is None else {"at": at}
        buckets = sorted(model.buckets)
        if not buckets or model.state == "STOP":  # what was replaced is not read any more
            return
        rnd = self.rnd
        limits = rnd.choice([{}, {}, {"limit": rnd.randint(1, 12)}, {"chunk_limit_bytes": rnd.randint(10, 300)}])
        chosen = rnd.sample(buckets, rnd.randint(1, min(len(buckets), 6))) if limits else buckets[:40]
        # With a limit the answer depends on the order of buckets, which is the store's own.
        self.do("read", **self.where(s, buckets=[[b, "0"] for b in (chosen[:1] if limits else chosen)], **limits, **extra))
        self.do("checksums", **self.where(s, buckets=buckets[:20], **extra))
        lookups = sorted({key for _, _, _, key, _ in model.lookups})
        if lookups:
            asked = [M.bson_read(k)["l"] for k in lookups[:10]]
            self.do("parameters", **self.where(s, lookups=[k[:2] + [M.shown(v) for v in k[2:]] for k in asked], **extra))

    def look_at_tables(self, s):
        v3 = self.model(s).version >= 3
        self.do("flush", **self.by(s))
        self.do("current_data", **self.where(s, **({"v3": True} if v3 else {})))
        if not v3:
            self.do("counts", **self.where(s))

    def truncate(self, s):
        tables = self.rnd.sample(list(s.tables), self.rnd.randint(1, 2))
        self.do("truncate", tables=[s.tables[t][0] for t in tables], **self.by(s))

    def compact(self, s):
        self.do("flush", **self.by(s))  # the embedded store has one writer at a time
        model = self.model(s)
        if model.state == "ACTIVE" and model.checkpoint:
            self.do("compact", **self.where(s))
            s.checkpoints = [str(model.checkpoint)]

    def step(self):
        rnd, s = self.rnd, self.rnd.choice([s for s in self.streams if self.model(s).state != "STOP"])
        x = rnd.random()
        if x < 0.60:
            self.save(s)
        elif x < 0.66:
            self.do("flush", **self.by(s))
        elif x < 0.79:
            self.commit(s)
            if rnd.random() < 0.2:
                self.another_writer(s)
        elif x < 0.88:
            self.look(s)
        elif x < 0.91 and s.checkpoints:
            self.look(s, rnd.choice(s.checkpoints))
        elif x < 0.94:
            self.compact(s)
        elif self.shared and x < 0.955:
            self.truncate(s)
        elif self.shared and x < 0.97:
            self.resolve(s, rnd.choice(list(TABLES)), True)
        elif self.shared and x < 0.98 and len(self.streams) < 3:
            self.deploy()
        elif self.shared:
            self.look_at_tables(s)
            self.do("streams")

    def make(self, steps):
        self.deploy()
        for _ in range(steps):
            self.step()
        for s in self.streams:
            if self.model(s).state != "STOP":
                self.commit(s)
            self.look(s)
            if self.shared:
                self.look_at_tables(s)
        if self.shared:
            self.do("streams")
        return {"name": self.name, "title": "random, of the model", "steps": self.steps}


def main(seed, count, folder):
    for n in range(count):
        for kind in ("both", "shared"):
            name = "%s-%d-%d" % (kind, seed, n)
            scenario = Scenario(random.Random(name), name, kind == "shared").make(70)
            with open(os.path.join(folder, name + ".json"), "w", encoding="utf-8") as f:
                f.write("{\"name\": %s, \"title\": %s, \"steps\": [\n" % (json.dumps(name), json.dumps(scenario["title"])))
                f.write(",\n".join(json.dumps(s) for s in scenario["steps"]) + "\n]}\n")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
