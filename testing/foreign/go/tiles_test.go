package foreign

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// folder is a log as C2SP tlog-tiles lays it out, read by x/mod/sumdb/tlog.
type folder string

func (f folder) Height() int { return 8 }

// x/mod writes the height into the path, and calls entries data.
func (f folder) path(t tlog.Tile) string {
	name := strings.TrimPrefix(t.Path(), "tile/8/")
	return filepath.Join(string(f), "tile", strings.Replace(name, "data/", "entries/", 1))
}

func (f folder) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, tile := range tiles {
		hashes, err := os.ReadFile(f.path(tile))
		if err != nil {
			return nil, err
		}
		data = append(data, hashes)
	}
	return data, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

// entries gives the leaves of the log, from its bundles.
func (f folder) entries(size int64) (leaves [][]byte, err error) {
	for first := int64(0); first < size; first += 256 {
		tile := tlog.Tile{H: 8, L: -1, N: first / 256, W: int(min(256, size-first))}
		bundle, err := os.ReadFile(f.path(tile))
		if err != nil {
			return nil, err
		}
		here, err := split(bundle)
		if err != nil || len(here) != tile.W {
			return nil, errors.Join(err, errors.New("another number of entries than hashes"))
		}
		leaves = append(leaves, here...)
	}
	return leaves, nil
}

func split(bundle []byte) (leaves [][]byte, err error) {
	for len(bundle) > 0 {
		if len(bundle) < 2 {
			return nil, errors.New("a length of one byte")
		}
		end := 2 + int(binary.BigEndian.Uint16(bundle))
		if end > len(bundle) {
			return nil, errors.New("an entry longer than its bundle")
		}
		leaves, bundle = append(leaves, bundle[2:end]), bundle[end:]
	}
	return leaves, nil
}

// check judges a folder with x/mod: the checkpoint, every hash against it, every
// entry against its hash, and proofs made from the tiles.
func (f folder) check(verifier note.Verifier) (tree tlog.Tree, err error) {
	raw, err := os.ReadFile(filepath.Join(string(f), "checkpoint"))
	if err != nil {
		return tree, err
	}
	if tree, err = open(raw, verifier); err != nil {
		return tree, err
	}
	reader := tlog.TileHashReader(tree, f)
	indexes := make([]int64, tree.N)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(0, int64(i))
	}
	recorded, err := reader.ReadHashes(indexes)
	if err != nil {
		return tree, err
	}
	leaves, err := f.entries(tree.N)
	if err != nil {
		return tree, err
	}
	for i, leaf := range leaves {
		if tlog.RecordHash(leaf) != recorded[i] {
			return tree, errors.New("an entry is not the one that its hash is of")
		}
	}
	for _, i := range []int64{0, 1, tree.N / 2, tree.N - 1} {
		proof, err := tlog.ProveRecord(tree.N, i, reader)
		if err == nil {
			err = tlog.CheckRecord(proof, tree.N, tree.Hash, i, tlog.RecordHash(leaves[i]))
		}
		if err != nil {
			return tree, err
		}
	}
	return tree, nil
}

// fsck judges a folder with Tessera's own program.
func (f folder) fsck(verifier note.Verifier) error {
	bundle := func(raw []byte) (hashes [][]byte, err error) {
		leaves, err := split(raw)
		for _, leaf := range leaves {
			hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(leaf))
		}
		return hashes, err
	}
	fetcher := client.FileFetcher{Root: string(f)}
	return fsck.New(verifier.Name(), verifier, fetcher, bundle, fsck.Opts{N: 1}).Check(context.Background())
}

// files names all files of a folder, those of its owner left out.
func (f folder) files(t *testing.T) (names []string) {
	err := filepath.WalkDir(string(f), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.HasPrefix(d.Name(), ".") {
			name, _ := filepath.Rel(string(f), path)
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// isOf says whether a file is of the tree of so many leaves. Narrower tiles may
// stay for those who hold an older checkpoint.
func isOf(name string, size int64) bool {
	tile, width, partial := strings.Cut(name, ".p/")
	if !partial {
		return true
	}
	for level := range 8 {
		here := fmt.Sprintf("tile/%d/", level)
		if strings.HasPrefix(tile, here) || level == 0 && strings.HasPrefix(tile, "tile/entries/") {
			return width == strconv.FormatInt(size>>(8*level)%256, 10)
		}
	}
	return true
}

// examine judges a folder that must be good, and one in which each file has one
// byte changed, in the middle, by turns: each is found by one of the two.
func (f folder) examine(t *testing.T, verifier note.Verifier) tlog.Tree {
	t.Helper()
	tree, err := f.check(verifier)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.fsck(verifier); err != nil {
		t.Fatal(err)
	}
	names := f.files(t)
	for _, name := range names {
		path := filepath.Join(string(f), name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := slices.Clone(whole)
		changed[len(changed)/2] ^= 1
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = f.check(verifier)
		if unseen := err == nil && f.fsck(verifier) == nil; unseen && isOf(name, tree.N) {
			t.Errorf("%s is changed, and nobody finds it", name)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.check(verifier); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d leaves in %d files", tree.N, len(names))
	return tree
}
