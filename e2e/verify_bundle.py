"""Verifies a bundle of `doorbook audit export` with nothing but a public key.

A second implementation, written from docs/AUDIT-FORMAT.md alone. Usage: verify_bundle.py BUNDLE NAME+ID+KEY
Prints each fault with position and event; the status is 0 only if everything holds.
"""

import base64
import hashlib
import json
import sys
import uuid

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = "doorbook-bundle/1"
LEAF = b"doorbook/leaf/v1\0"
EVENT_FIELDS = {
    "position", "event_id", "leaf_hash", "log_id", "retention_class", "tenant_id", "stream_id", "version", "type",
    "schema_version", "subject_id", "payload", "pii", "pii_key_id", "actor_kind", "actor_id", "session_id", "trace_id",
    "correlation_id", "causation_id", "recorded_at",
}


class Refused(Exception):
    """The bundle proves nothing at all."""


def sha256(data):
    return hashlib.sha256(data).digest()


# Signed notes and checkpoints


def read_key(text):
    name, key_id, key = text.strip().split("+", 2)
    key = base64.b64decode(key, validate=True)
    if key[0] != 1 or len(key) != 33 or sha256(name.encode() + b"\n" + key)[:4].hex() != key_id:
        raise Refused("the key is no verifier key")
    return name, bytes.fromhex(key_id), Ed25519PublicKey.from_public_bytes(key[1:])


def read_checkpoint(note, key):
    """Size and root of a checkpoint that this key has signed."""
    name, key_id, public = key
    text, found, lines = note.rpartition("\n\n")
    if not found or not lines.endswith("\n"):
        raise Refused("the checkpoint is no signed note")
    text += "\n"
    signed = False
    for line in lines[:-1].split("\n"):
        mark, who, signature = line.split(" ")
        signature = base64.b64decode(signature, validate=True)
        if mark != "\u2014":
            raise Refused("the checkpoint is no signed note")
        if who == name and signature[:4] == key_id:
            try:
                public.verify(signature[4:], text.encode())
            except InvalidSignature:
                raise Refused("the signature of the checkpoint is false") from None
            signed = True
    if not signed:
        raise Refused("the checkpoint is not signed by this key")
    origin, size, root = text.split("\n")[:3]
    if origin != name:
        raise Refused("the checkpoint is of another log")
    return int(size), base64.b64decode(root, validate=True)


# The leaf of an event


def canonical(value):
    """RFC 8785 for what payloads hold: no floats."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(canonical(key) + ":" + canonical(value[key]) for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, float):
        raise ValueError("a payload holds a float")
    return json.dumps(value, ensure_ascii=False)


def leaf_hash(event):
    def whole(number, size):
        return number.to_bytes(size, "big", signed=True)

    def ident(text):
        return None if text is None else uuid.UUID(text).bytes

    columns = [
        whole(event["log_id"], 2),
        whole(event["position"], 8),
        ident(event["event_id"]),
        event["retention_class"].encode(),
        ident(event["tenant_id"]),
        ident(event["stream_id"]),
        whole(event["version"], 8),
        event["type"].encode(),
        whole(event["schema_version"], 2),
        ident(event["subject_id"]),
        canonical(event["payload"]).encode(),
        None if event["pii"] is None else base64.b64decode(event["pii"], validate=True),
        ident(event["pii_key_id"]),
        event["actor_kind"].encode(),
        ident(event["actor_id"]),
        ident(event["session_id"]),
        ident(event["trace_id"]),
        ident(event["correlation_id"]),
        ident(event["causation_id"]),
        whole(event["recorded_at"], 8),
    ]
    encoded = LEAF
    for column in columns:
        encoded += b"\xff\xff\xff\xff" if column is None else len(column).to_bytes(4, "big") + column
    return sha256(b"\0" + encoded)


# The tree


class Tree:
    """The right edge of a growing tree: pairs of height and hash, the highest first."""

    def __init__(self):
        self.size = 0
        self.edge = []

    def push(self, height, digest):
        if self.size % (1 << height):
            raise Refused("a hash stands where none of its height can")
        self.size += 1 << height
        while self.edge and self.edge[-1][0] == height:
            digest = sha256(b"\1" + self.edge.pop()[1] + digest)
            height += 1
        self.edge.append((height, digest))

    def root(self):
        digest = None
        for _, left in reversed(self.edge):
            digest = left if digest is None else sha256(b"\1" + left + digest)
        return sha256(b"") if digest is None else digest


def cover(start, end):
    """Heights of the largest perfect subtrees that make up these leaves."""
    while start < end:
        height = (end - start).bit_length() - 1
        if start:
            height = min(height, (start & -start).bit_length() - 1)
        yield height
        start += 1 << height


def push_all(tree, heights, hashes):
    heights = list(heights)
    if len(heights) != len(hashes):
        raise Refused("the hashes around the events are not all there")
    for height, digest in zip(heights, hashes):
        tree.push(height, bytes.fromhex(digest))


def verify(lines, key):
    """Faults, each with position and event; the bundle holds if there are none."""
    header = json.loads(next(lines))
    if header["format"] != FORMAT:
        raise Refused("this is another format")
    size, root = read_checkpoint(header["checkpoint"], key)
    first, last = header["from"], header["to"]
    if not 1 <= first <= last <= size:
        raise Refused("the positions are not under the checkpoint")
    tree, faults = Tree(), []
    push_all(tree, cover(0, first - 1), header["before"])
    agreed, event_id, diverged = first - 1, None, False
    for line in lines:
        line = json.loads(line)
        if list(line) == ["checkpoint"]:
            marked, marked_root = read_checkpoint(line["checkpoint"], key)
            if marked == tree.size and not diverged:
                if marked_root == tree.root():
                    agreed = marked
                else:
                    diverged = True
                    faults.append(f"positions {agreed + 1} to {marked}, up to event {event_id}: not what was signed")
            continue
        if list(line) == ["retired"]:
            # Retention has dropped the event; its hash is all that is left.
            event = line["retired"]
            if set(event) != {"position", "event_id", "leaf_hash"}:
                raise Refused("a line has other fields")
            event_id = event["event_id"]
            if event["position"] != tree.size + 1:
                faults.append(f"position {event['position']}, event {event_id}: position {tree.size + 1} belongs here")
                return faults
            tree.push(0, bytes.fromhex(event["leaf_hash"]))
            continue
        event = line["event"]
        if set(event) != EVENT_FIELDS or list(line) != ["event"]:
            raise Refused("a line has other fields")
        event_id = event["event_id"]
        if event["position"] != tree.size + 1:
            faults.append(f"position {event['position']}, event {event_id}: position {tree.size + 1} belongs here")
            return faults
        try:
            found = leaf_hash(event)
        except (ValueError, OverflowError, AttributeError, TypeError) as error:
            found = error
        if found != bytes.fromhex(event["leaf_hash"]):
            faults.append(f"position {event['position']}, event {event_id}: not the event that was sealed")
        tree.push(0, bytes.fromhex(event["leaf_hash"]))
    if tree.size != last:
        faults.append(f"positions {tree.size + 1} to {last}: missing")
        return faults
    push_all(tree, cover(last, size), header["behind"])
    if tree.root() != root and not diverged:
        faults.append(f"positions {agreed + 1} to {last}, up to event {event_id}: not what was signed")
    return faults


def main():
    bundle, key = sys.argv[1:]
    try:
        with open(bundle, encoding="utf-8") as lines:
            faults = verify(lines, read_key(key))
    except (Refused, ValueError, KeyError, IndexError, StopIteration) as error:
        faults = [f"{type(error).__name__}: {error}"]
    for fault in faults:
        print(fault)
    print("does NOT hold" if faults else "holds")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
