package foreign

import (
	"strings"
	"testing"

	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// The library that other logs and witnesses of C2SP use, with an ML-DSA-44 of
// its own, takes a log's second signature, and a witness's, for what they are.
func TestSecondSignaturesVerify(t *testing.T) {
	var vector struct {
		Checkpoint string `json:"checkpoint"`
		First      string `json:"verifier_key"`
		Second     string `json:"pq_verifier_key"`
		Witness    string `json:"pq_witness_key"`
		Time       uint64 `json:"time"`
	}
	load(t, "second_signatures.json", &vector)
	first, err := note.NewVerifier(vector.First)
	if err != nil {
		t.Fatal(err)
	}
	second, err := f_note.NewVerifierForCosignatureV1(vector.Second)
	if err != nil {
		t.Fatal(err)
	}
	witness, err := f_note.NewVerifierForCosignatureV1(vector.Witness)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := note.Open([]byte(vector.Checkpoint), note.VerifierList(first, second, witness))
	if err != nil {
		t.Fatal(err)
	}
	if len(opened.Sigs) != 3 || len(opened.UnverifiedSigs) != 0 {
		t.Fatalf("%d lines verify, %d are by others", len(opened.Sigs), len(opened.UnverifiedSigs))
	}
	for i, want := range []uint64{0, vector.Time} {
		if at, err := f_note.CoSigV1Timestamp(opened.Sigs[i+1]); err != nil || uint64(at.Unix()) != want {
			t.Errorf("line %d states %v (%v), and not %d", i+2, at, err, want)
		}
	}
	// Each line alone, and of another tree.
	other := strings.Replace(vector.Checkpoint, "\n14\n", "\n15\n", 1)
	for _, key := range []note.Verifier{first, second, witness} {
		if _, err := note.Open([]byte(vector.Checkpoint), note.VerifierList(key)); err != nil {
			t.Errorf("%s: %v", key.Name(), err)
		}
		if _, err := note.Open([]byte(other), note.VerifierList(key)); err == nil {
			t.Errorf("%s has signed another tree", key.Name())
		}
	}
}
