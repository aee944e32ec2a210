package foreign

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	cosignature "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// What the command line prints and writes for strangers: a verifier key, a
// checkpoint, a folder of tiles, and a checkpoint that a witness cosigned.
func TestCommandLine(t *testing.T) {
	binary, home := program(t, "MIRRORDNA_BIN"), t.TempDir()
	run := func(args ...string) string {
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
	}
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
