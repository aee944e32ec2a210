package foreign

import (
	"bytes"
	"encoding/base64"
	"errors"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// program is one that the environment names; without it the test is skipped,
// or fails where CI=true.
func program(t *testing.T, name string) string {
	t.Helper()
	path := os.Getenv(name)
	if path == "" {
		missing(t, name+" names no program")
	}
	return path
}

// missing skips a test that cannot run here; where CI=true it must.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// Why mirrordna refuses notes that Go takes. The first two are rules of C2SP
// signed-note that Go's package, which is older, does not have; the others are
// limits and spellings.
var stricter = map[string]string{
	"holds a control character":          "Go looks for those below U+0020 only",
	"has a signature that is not base64": "Go takes unused bits that are not zero",
	"has more than 16 signatures":        "Go takes 100",
	"is longer than 64 KiB":              "Go takes a megabyte",
}

// wellFormed says whether Go reads the bytes as a note, whoever signed it.
func wellFormed(raw []byte) bool {
	_, err := note.Open(raw, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	return err == nil || errors.As(err, &unverified)
}

// Whatever mirrordna takes for a note, Go does; and what Go alone takes is
// refused for a known reason.
func TestNotesAreReadAlike(t *testing.T) {
	evidence := program(t, "EVIDENCE_BIN")
	var log vectors
	load(t, "log.json", &log)
	sign := "\u2014 witness.example " + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 76)) + "\n"
	seeds := []string{
		log.Checkpoints[0],
		log.Checkpoints[1] + sign,
		"text\n\nwith an empty line\n\n" + sign,
		"text\n\n" + strings.Repeat(sign, 16),
		"text\n\n" + strings.Repeat(sign, 17),
	}
	pieces := []string{"\n", "\n\n", "\r", "\x00", "\x1f", "\x7f", "\u0085", "\u2014 ", "\u2014", " ", "+", "=", "A", "/", "_", "-", "\xff", "\xe2\x80", "\ufeff", "\u00a0", "\t"}
	random := rand.New(rand.NewSource(1))
	inputs := [][]byte{nil, []byte("\n"), []byte("\n\n"), bytes.Repeat([]byte("x"), 70_000)}
	for _, seed := range seeds {
		inputs = append(inputs, []byte(seed))
		for range 1500 {
			raw := []byte(seed)
			for range 1 + random.Intn(2) {
				at := random.Intn(len(raw))
				switch random.Intn(4) {
				case 0:
					raw[at] ^= 1 << random.Intn(8)
				case 1:
					raw = append(raw[:at:at], raw[at+1:]...)
				case 2:
					raw = append(raw[:at:at], append([]byte(pieces[random.Intn(len(pieces))]), raw[at:]...)...)
				case 3:
					to := min(len(raw), at+1+random.Intn(80))
					raw = append(raw[:at:at], raw[to:]...)
				}
				if len(raw) == 0 {
					break
				}
			}
			inputs = append(inputs, raw)
		}
	}

	file := filepath.Join(t.TempDir(), "notes")
	var lines strings.Builder
	for _, raw := range inputs {
		lines.WriteString(base64.StdEncoding.EncodeToString(raw) + "\n")
	}
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(evidence, "notes", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(answers) != len(inputs) {
		t.Fatalf("%d answers for %d notes", len(answers), len(inputs))
	}
	both, neither, only := 0, 0, map[string]int{}
	for i, raw := range inputs {
		ours, theirs := answers[i] == "ok", wellFormed(raw)
		switch {
		case ours && theirs:
			both++
		case !ours && !theirs:
			neither++
		case ours:
			t.Errorf("Go does not take %q", raw)
		case stricter[answers[i]] == "":
			t.Errorf("refused without a known reason (%s): %q", answers[i], raw)
		default:
			only[answers[i]]++
		}
	}
	if both < 500 || neither < 500 || len(only) < 3 {
		t.Errorf("both take %d, neither %d, Go alone %v: the inputs tell too little", both, neither, only)
	}
	t.Logf("both take %d, neither takes %d, Go alone takes %v", both, neither, only)
}
