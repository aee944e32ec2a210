package foreign

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A log that the engine publishes, as whoever gets the folder and, by another
// way, its verifier key sees it.
func TestPublishedLog(t *testing.T) {
	home := t.TempDir()
	said, err := exec.Command(program(t, "PUBLISH_BIN"), home).Output()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(said), "verifier key ")
	if !found {
		t.Fatalf("no key in %q", said)
	}
	key, _, _ := strings.Cut(rest, "\n")
	verifier, err := note.NewVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	tiles := folder(filepath.Join(home, "tiles"))
	newest := tiles.examine(t, verifier)

	// The log only grew since somebody kept a checkpoint of it.
	raw, err := os.ReadFile(filepath.Join(home, "checkpoint.kept"))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := open(raw, verifier)
	if err != nil || kept.N >= newest.N {
		t.Fatalf("%v, then %v: %v", kept, newest, err)
	}
	proof, err := tlog.ProveTree(newest.N, kept.N, tlog.TileHashReader(newest, tiles))
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckTree(proof, newest.N, newest.Hash, kept.N, kept.Hash); err != nil {
		t.Error(err)
	}
	for _, bad := range spoiled(proof) {
		if tlog.CheckTree(bad, newest.N, newest.Hash, kept.N, kept.Hash) == nil {
			t.Error("a spoiled proof passes")
		}
	}
	t.Logf("%d leaves, then %d: consistent by %d hashes", kept.N, newest.N, len(proof))
}
