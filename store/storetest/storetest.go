// Package storetest is the conformance suite of the contract in package store.
// It is run on every implementation, on every decorator round one, and on real
// servers.
//
// Where a server is known to differ from S3, the caller says so in
// [Differences], and the suite then demands the different behaviour: a server
// that has been repaired fails until the difference is struck off. Nothing is
// skipped in silence.
package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"testing"

	"github.com/causewayfs/causeway/store"
)

// Differences are the known ways in which a server is not like S3. The zero
// value is S3 itself.
type Differences struct {
	// DeleteIfIgnored: DELETE removes the object whatever its version.
	DeleteIfIgnored bool
	// AbsentDeleteIfSucceeds: DELETE of a version of an absent key is success.
	AbsentDeleteIfSucceeds bool
	// CopyIfIgnored: Copy replaces the destination whatever its version.
	CopyIfIgnored bool
	// FileOrDirectory: the keys "a" and "a/b" exclude each other.
	FileOrDirectory bool
	// NoEmptySegments: keys with an empty segment, like "a//b", are refused.
	NoEmptySegments bool
	// FoldsSegments: the keys "a//b" and "a/b" are the same.
	FoldsSegments bool
	// ListGarblesControls: List shows U+FFFD in place of the characters that
	// XML cannot hold.
	ListGarblesControls bool
	// PagesOfOneEnd: a List with a delimiter and Max 1 may end too early.
	PagesOfOneEnd bool
}

// A testCase is one property of the contract.
type testCase struct {
	name string
	run  func(*suite)
}

// suite is what a test case works with: its own empty store.
type suite struct {
	*testing.T
	store.Store
	ctx   context.Context
	known Differences
}

// Run runs the suite. open returns a store without objects; it is called once
// for each test case, which may run at the same time as others.
func Run(t *testing.T, open func(t *testing.T) store.Store, known Differences) {
	for _, tc := range allCases() {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.run(&suite{T: t, Store: open(t), ctx: t.Context(), known: known})
		})
	}
}

func allCases() []testCase {
	var all []testCase
	for _, group := range [][]testCase{readCases(), writeCases(), conditionCases(), listCases(), keyCases(), uploadCases(), failureCases()} {
		all = append(all, group...)
	}
	return all
}

func body(data []byte) store.Body {
	return store.Body{Reader: bytes.NewReader(data), Size: int64(len(data))}
}

func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.Read(data) // never fails
	return data
}

// must stops the test case at an error that is not its subject.
func (s *suite) must(what string, err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
}

// want demands a Kind.
func (s *suite) want(what string, err error, kind store.Kind) {
	s.Helper()
	if !store.IsKind(err, kind) {
		s.Errorf("%s: got %v, want %v", what, err, kind)
	}
}

// put stores content without conditions.
func (s *suite) put(key, content string) store.Info {
	s.Helper()
	info, err := s.Put(s.ctx, key, body([]byte(content)), store.PutOptions{})
	s.must("put "+key, err)
	return info
}

// read returns a whole object's content and description.
func (s *suite) read(key string, opts store.GetOptions) ([]byte, *store.Object) {
	s.Helper()
	obj, err := s.Get(s.ctx, key, opts)
	s.must("get "+key, err)
	defer func() { _ = obj.Body.Close() }()
	data, err := io.ReadAll(obj.Body)
	s.must("read "+key, err)
	if int64(len(data)) != obj.Length {
		s.Errorf("get %q: body has %d bytes, Length says %d", key, len(data), obj.Length)
	}
	return data, obj
}

// outrun reports that a body could not be read to its end because its version
// was replaced meanwhile, which is a store's right if the connection broke.
func outrun(err error) bool {
	return store.IsKind(err, store.PreconditionFailed) || store.IsKind(err, store.NotExist)
}

// holds demands that key has this content.
func (s *suite) holds(key, content string) {
	s.Helper()
	data, _ := s.read(key, store.GetOptions{})
	if string(data) != content {
		s.Errorf("content of %q: got %.40q, want %.40q", key, data, content)
	}
}

// absent demands that key does not exist.
func (s *suite) absent(key string) {
	s.Helper()
	_, err := s.Head(s.ctx, key)
	s.want("head "+key, err, store.NotExist)
}

// keys lists all keys below a prefix, page by page.
func (s *suite) keys(prefix string) []string {
	s.Helper()
	var keys []string
	opts := store.ListOptions{Prefix: prefix}
	for {
		page, err := s.List(s.ctx, opts)
		s.must("list "+prefix, err)
		for _, o := range page.Objects {
			keys = append(keys, o.Key)
		}
		if page.Next == "" {
			return keys
		}
		opts.Token = page.Next
	}
}
