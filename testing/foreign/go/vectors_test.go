// Package foreign holds mirrordna's evidence against verifiers that others
// wrote in Go: golang.org/x/mod/sumdb (note, tlog), as the Go command uses them
// for its checksum database, and transparency-dev's formats and Tessera.
//
// What is examined: the test vectors in spec/vectors (this file), the parser of
// notes (notes_test.go, with the program EVIDENCE_BIN), and a log that the
// engine publishes as a folder of tiles (store_test.go, with PUBLISH_BIN), and
// what the command line writes (cli_test.go, with MIRRORDNA_BIN).
// `cargo xtask foreign` names the programs; a test without its own is skipped,
// or fails where CI=true.
package foreign

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// bin is a byte string that stands as hex in the vectors.
type bin []byte

func (b *bin) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	raw, err := hex.DecodeString(s)
	*b = raw
	return err
}

func (b bin) hash(t *testing.T) (h tlog.Hash) {
	t.Helper()
	if len(b) != len(h) {
		t.Fatalf("a hash of %d bytes", len(b))
	}
	copy(h[:], b)
	return h
}

func hashes(t *testing.T, list []bin) []tlog.Hash {
	out := make([]tlog.Hash, len(list))
	for i, b := range list {
		out[i] = b.hash(t)
	}
	return out
}

func load(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "spec", "vectors", name))
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// open checks a signed checkpoint with x/mod/sumdb/note and reads its tree.
func open(checkpoint []byte, verifier note.Verifier) (tree tlog.Tree, err error) {
	signed, err := note.Open(checkpoint, note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(signed.Text, "\n")
	if lines[0] != verifier.Name() {
		return tree, os.ErrInvalid
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err == nil && len(root) != tlog.HashSize {
		err = os.ErrInvalid
	}
	copy(tree.Hash[:], root)
	return tree, err
}

type vectors struct {
	VerifierKey string `json:"verifier_key"`
	Checkpoints []string
	Events      []struct {
		Leaf     bin
		LeafHash bin `json:"leaf_hash"`
	}
	Verdict struct {
		Size int64
		Root bin
	}
}

func TestCheckpointsOpen(t *testing.T) {
	var log vectors
	load(t, "log.json", &log)
	verifier, err := note.NewVerifier(log.VerifierKey)
	if err != nil {
		t.Fatal(err)
	}
	if len(log.Checkpoints) != 2 {
		t.Fatalf("%d checkpoints", len(log.Checkpoints))
	}
	for _, checkpoint := range log.Checkpoints {
		if _, err := open([]byte(checkpoint), verifier); err != nil {
			t.Fatal(err)
		}
		// No byte of it can be another: neither the text nor the signature.
		for i := range checkpoint {
			flipped := []byte(checkpoint)
			flipped[i] ^= 1
			if _, err := open(flipped, verifier); err == nil {
				t.Errorf("byte %d changed, and it still opens", i)
			}
		}
	}
	newest, err := open([]byte(log.Checkpoints[1]), verifier)
	if err != nil || newest.N != log.Verdict.Size || newest.Hash != log.Verdict.Root.hash(t) {
		t.Fatalf("%v %v", newest, err)
	}
}

func TestLeavesLeadToTheSignedRoots(t *testing.T) {
	var log vectors
	load(t, "log.json", &log)
	verifier, err := note.NewVerifier(log.VerifierKey)
	if err != nil {
		t.Fatal(err)
	}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			out[i] = stored[index]
		}
		return out, nil
	})
	for i, event := range log.Events {
		if tlog.RecordHash(event.Leaf) != event.LeafHash.hash(t) {
			t.Errorf("leaf %d has another hash", i)
		}
		more, err := tlog.StoredHashes(int64(i), event.Leaf, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
	}
	var trees []tlog.Tree
	for _, checkpoint := range log.Checkpoints {
		signed, err := open([]byte(checkpoint), verifier)
		if err != nil {
			t.Fatal(err)
		}
		root, err := tlog.TreeHash(signed.N, reader)
		if err != nil || root != signed.Hash {
			t.Errorf("the tree of %d leaves has root %v, %v is signed: %v", signed.N, root, signed.Hash, err)
		}
		trees = append(trees, signed)
	}
	proof, err := tlog.ProveTree(trees[1].N, trees[0].N, reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckTree(proof, trees[1].N, trees[1].Hash, trees[0].N, trees[0].Hash); err != nil {
		t.Error(err)
	}
}

// spoiled gives proofs that prove nothing: each hash changed, one lost, one more.
func spoiled(proof []tlog.Hash) (out [][]tlog.Hash) {
	for i := range proof {
		for _, bit := range []byte{1, 0x80} {
			changed := append([]tlog.Hash(nil), proof...)
			changed[i][int(bit)%tlog.HashSize] ^= bit
			out = append(out, changed)
		}
	}
	if len(proof) > 0 {
		out = append(out, proof[1:], proof[:len(proof)-1])
	}
	return append(out, append(append([]tlog.Hash(nil), proof...), tlog.Hash{}))
}

func TestProofs(t *testing.T) {
	var proofs struct {
		Inclusion []struct {
			Index, Size int64
			Root        bin
			Proof       []bin
		}
		Consistency []struct {
			From, To int64
			FromRoot bin `json:"from_root"`
			ToRoot   bin `json:"to_root"`
			Proof    []bin
		}
	}
	load(t, "proofs.json", &proofs)
	if len(proofs.Inclusion) != 8 || len(proofs.Consistency) != 8 {
		t.Fatalf("%d and %d proofs", len(proofs.Inclusion), len(proofs.Consistency))
	}
	refused := 0
	for _, p := range proofs.Inclusion {
		leaf := make([]byte, 8)
		leaf[6], leaf[7] = byte(p.Index>>8), byte(p.Index)
		path, root, hash := hashes(t, p.Proof), p.Root.hash(t), tlog.RecordHash(leaf)
		if err := tlog.CheckRecord(path, p.Size, root, p.Index, hash); err != nil {
			t.Errorf("leaf %d of %d: %v", p.Index, p.Size, err)
		}
		for _, bad := range spoiled(path) {
			if tlog.CheckRecord(bad, p.Size, root, p.Index, hash) == nil {
				t.Errorf("leaf %d of %d: a spoiled proof passes", p.Index, p.Size)
			}
			refused++
		}
		if p.Size > 1 && tlog.CheckRecord(path, p.Size, root, (p.Index+1)%p.Size, hash) == nil {
			t.Errorf("leaf %d of %d passes for another", p.Index, p.Size)
		}
	}
	for _, p := range proofs.Consistency {
		path, from, to := hashes(t, p.Proof), p.FromRoot.hash(t), p.ToRoot.hash(t)
		if err := tlog.CheckTree(path, p.To, to, p.From, from); err != nil {
			t.Errorf("%d to %d: %v", p.From, p.To, err)
		}
		for _, bad := range spoiled(path) {
			if tlog.CheckTree(bad, p.To, to, p.From, from) == nil {
				t.Errorf("%d to %d: a spoiled proof passes", p.From, p.To)
			}
			refused++
		}
		if p.From < p.To && tlog.CheckTree(path, p.To, to, p.From, to) == nil {
			t.Errorf("%d to %d passes for another root", p.From, p.To)
		}
	}
	t.Logf("16 proofs pass, %d spoiled ones do not", refused)
}

// The key id in a verifier key, and in the signature, is the one that Go computes.
func TestVerifierKeyIsThatOfItsKey(t *testing.T) {
	var log vectors
	load(t, "log.json", &log)
	parts := strings.SplitN(log.VerifierKey, "+", 3)
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 33 {
		t.Fatalf("%d bytes, %v", len(key), err)
	}
	made, err := note.NewEd25519VerifierKey(parts[0], key[1:])
	if err != nil || made != log.VerifierKey {
		t.Fatalf("%s, expected %s: %v", made, log.VerifierKey, err)
	}
	if !bytes.Contains([]byte(log.Checkpoints[0]), []byte("\n\n\u2014 "+parts[0]+" ")) {
		t.Fatal("no signature line of the key's name")
	}
}
