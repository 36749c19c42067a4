BEGIN TRANSACTION;
CREATE TABLE holes(
  number INTEGER PRIMARY KEY,       -- 1, 2, 3 ... in the order of forgetting
  mark INTEGER NOT NULL,
  position INTEGER NOT NULL UNIQUE, position_mark INTEGER NOT NULL
);
INSERT INTO "holes" VALUES(1,2918025208496305359,2,2976325325406569140);
CREATE TABLE learnt(episode TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO "learnt" VALUES('memories/0/g1');
CREATE TABLE memories(
  position INTEGER PRIMARY KEY,     -- row of vectors.f32, never given twice in a generation
  mark INTEGER NOT NULL,            -- random; see matrix.Stamp
  id TEXT NOT NULL UNIQUE,
  experience TEXT NOT NULL UNIQUE,
  task TEXT NOT NULL, script TEXT NOT NULL, steps TEXT NOT NULL, "key" TEXT NOT NULL,
  environment TEXT NOT NULL, game TEXT NOT NULL, split TEXT NOT NULL, teacher TEXT NOT NULL,
  trajectory TEXT NOT NULL, won INTEGER NOT NULL,
  uses INTEGER NOT NULL, wins INTEGER NOT NULL, strength INTEGER NOT NULL, created TEXT NOT NULL,
  vector BLOB NOT NULL              -- float32 little-endian
);
INSERT INTO "memories" VALUES(0,2212791285342948599,'238592f3b191dd14','505cac96875a3368','put some box on dresser','take a box; put it on the dresser.','["go to sofa 1", "take box 1 from sofa 1"]','put some box on dresser','household','g1','train','search','t1',1,3,2,2,'2026-01-01T00:00:00+00:00',X'CC4E203E5F65533F78E0AABEBD8EDABE');
INSERT INTO "memories" VALUES(1,2687404020350811584,'7110c39b9e8105f3','c6c09e4cd9d4831f','find two pen and put them in drawer','Take one, put it down, then the other.','["go to sofa 1", "take box 1 from sofa 1"]','find two pen and put them in drawer','household','g2','train','search','t1',1,0,0,1,'2026-01-01T00:00:00+00:00',X'E67B203FD32B343F11AE97BE505E1EBE');
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('built_from','0123456789abcdef');
INSERT INTO "meta" VALUES('by','task');
INSERT INTO "meta" VALUES('dimensions','4');
INSERT INTO "meta" VALUES('encoder','hashing');
INSERT INTO "meta" VALUES('fingerprint','543924f167cd80d90befb811a674877947101fff99cbb93187d43b444f8f6275');
INSERT INTO "meta" VALUES('generation','74af64602650ecd9');
CREATE INDEX memories_key ON memories("key");
COMMIT;
PRAGMA application_id=1146441549;
PRAGMA user_version=2;
