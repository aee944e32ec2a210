package foreign

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	cosignature "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A log that the engine publishes, as whoever gets the folder and, by another
// way, its verifier key sees it.
func TestPublishedLog(t *testing.T) {
	home := t.TempDir()
	all, err := exec.Command(program(t, "PUBLISH_BIN"), home).Output()
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(said(t, string(all), "verifier key"))
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

// said gives what the program said after a word, up to the end of the line.
func said(t *testing.T, all, word string) string {
	t.Helper()
	_, rest, found := strings.Cut(all, word+" ")
	if !found {
		t.Fatalf("no %s in %q", word, all)
	}
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// proof is a C2SP tlog-proof.
type proof struct {
	leaf       []byte
	index      int64
	path       []tlog.Hash
	checkpoint string
}

func readProof(file string) (p proof, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return p, err
	}
	head, checkpoint, found := strings.Cut(string(text), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return p, fmt.Errorf("%s is no tlog-proof", file)
	}
	p.checkpoint = checkpoint
	if p.leaf, err = base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra ")); err != nil {
		return p, err
	}
	if p.index, err = strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64); err != nil {
		return p, err
	}
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return p, err
		}
		p.path = append(p.path, hash)
	}
	return p, nil
}

// What a witness cosigned, and files that prove one event each, as whoever has
// the two keys sees them.
func TestCosignedProofs(t *testing.T) {
	home := t.TempDir()
	all, err := exec.Command(program(t, "PUBLISH_BIN"), home).Output()
	if err != nil {
		t.Fatal(err)
	}
	log, err := note.NewVerifier(said(t, string(all), "verifier key"))
	if err != nil {
		t.Fatal(err)
	}
	witness, err := cosignature.NewVerifierForCosignatureV1(said(t, string(all), "witness key"))
	if err != nil {
		t.Fatal(err)
	}
	cosigned, err := os.ReadFile(filepath.Join(home, "checkpoint.cosigned"))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Open(cosigned, note.VerifierList(log, witness))
	if err != nil || len(signed.Sigs) != 2 || len(signed.UnverifiedSigs) != 0 {
		t.Fatalf("%v: %v", signed, err)
	}
	when, err := cosignature.CoSigV1Timestamp(signed.Sigs[1])
	if since := time.Since(when); err != nil || since < -time.Minute || since > time.Hour {
		t.Errorf("cosigned at %v: %v", when, err)
	}
	for i := range cosigned {
		flipped := slices.Clone(cosigned)
		flipped[i] ^= 1
		if again, err := note.Open(flipped, note.VerifierList(log, witness)); err == nil && len(again.Sigs) == 2 {
			t.Errorf("byte %d changed, and both signatures are still valid", i)
		}
	}

	files, err := filepath.Glob(filepath.Join(home, "*.tlog-proof"))
	if err != nil || len(files) != 5 {
		t.Fatalf("%v: %v", files, err)
	}
	for _, file := range files {
		p, err := readProof(file)
		if err != nil {
			t.Fatal(err)
		}
		if p.checkpoint != string(cosigned) {
			t.Errorf("%s has another checkpoint", file)
		}
		tree, err := open([]byte(p.checkpoint), log)
		if err != nil {
			t.Fatal(err)
		}
		hash := tlog.RecordHash(p.leaf)
		if err := tlog.CheckRecord(p.path, tree.N, tree.Hash, p.index, hash); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, bad := range spoiled(p.path) {
			if tlog.CheckRecord(bad, tree.N, tree.Hash, p.index, hash) == nil {
				t.Errorf("%s: a spoiled path passes", file)
			}
		}
	}
}
