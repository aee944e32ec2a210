package foreign

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	cosignature "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// commands runs the program, with a database in a folder of its own.
func commands(t *testing.T) (func(args ...string) string, string) {
	binary, home := program(t, "MIRRORDNA_BIN"), t.TempDir()
	return func(args ...string) string {
		t.Helper()
		command := exec.Command(binary, args...)
		command.Dir = home
		command.Env = []string{"HOME=" + home, "MIRRORDNA_STORE=" + filepath.Join(home, "store.db")}
		var complaint strings.Builder
		command.Stderr = &complaint
		out, err := command.Output()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, complaint.String())
		}
		return string(out)
	}, home
}

// What the command line prints and writes for strangers: a verifier key, a
// checkpoint, a folder of tiles, and a checkpoint that a witness cosigned.
func TestCommandLine(t *testing.T) {
	run, home := commands(t)
	run("identity", "create", "agent", "--name", "Ada")
	run("remember", "Prefers trains to planes", "--identity", "Ada")
	key := strings.TrimSpace(run("checkpoint", "--vkey"))
	log, err := note.NewVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	first, err := open([]byte(run("checkpoint")), log)
	if err != nil {
		t.Fatal(err)
	}

	run("remember", "Prefers ferries to trains", "--identity", "Ada")
	tiles := folder(filepath.Join(home, "tiles"))
	run("export", "--tiles", string(tiles))
	if tree := tiles.examine(t, log); tree.N <= first.N {
		t.Errorf("%d leaves, then %d", first.N, tree.N)
	}

	run("witness", "init", "witness", "--name", "witness.example/cli")
	run("witness", "trust", "witness", key)
	shown := run("witness", "show", "witness")
	at := strings.Index(shown, "witness.example/cli+")
	if at < 0 {
		t.Fatalf("no key in %q", shown)
	}
	witness, err := cosignature.NewVerifierForCosignatureV1(strings.Fields(shown[at:])[0])
	if err != nil {
		t.Fatal(err)
	}
	cosigned := run("checkpoint", "--witness", "witness")
	signed, err := note.Open([]byte(cosigned), note.VerifierList(log, witness))
	if err != nil || len(signed.Sigs) != 2 {
		t.Errorf("%v: %v", signed, err)
	}
}

// A log that changes its key: both lines of the bridge are valid notes, and what
// came before and after it is of one tree, each signed by its own key.
func TestRotatedKey(t *testing.T) {
	run, home := commands(t)
	run("identity", "create", "agent", "--name", "Ada")
	verifier := func(key string) note.Verifier {
		log, err := note.NewVerifier(key)
		if err != nil {
			t.Fatal(err)
		}
		return log
	}
	old := verifier(strings.TrimSpace(run("checkpoint", "--vkey")))
	before, err := open([]byte(run("checkpoint")), old)
	if err != nil {
		t.Fatal(err)
	}
	var rotated struct {
		Bridge string
		Key    struct {
			VerifierKey string `json:"verifier_key"`
			Since       int64
		}
	}
	if err := json.Unmarshal([]byte(run("keys", "rotate", "--log", "--json")), &rotated); err != nil {
		t.Fatal(err)
	}
	new := verifier(rotated.Key.VerifierKey)
	for _, key := range []note.Verifier{old, new} {
		if bridge, err := open([]byte(rotated.Bridge), key); err != nil || bridge.N+1 != rotated.Key.Since || bridge.N <= before.N {
			t.Errorf("%v: %v", bridge, err)
		}
	}
	signed, err := note.Open([]byte(rotated.Bridge), note.VerifierList(old, new))
	if err != nil || len(signed.Sigs) != 2 {
		t.Errorf("%v: %v", signed, err)
	}
	run("remember", "Prefers trains to planes", "--identity", "Ada")
	after := []byte(run("checkpoint"))
	if _, err := open(after, old); err == nil {
		t.Error("the old key still signs")
	}
	tree, err := open(after, new)
	if err != nil || tree.N < rotated.Key.Since {
		t.Errorf("%v: %v", tree, err)
	}
	tiles := folder(filepath.Join(home, "tiles"))
	run("export", "--tiles", string(tiles))
	tiles.examine(t, new)
}
