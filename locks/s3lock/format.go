package s3lock

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/causewayfs/causeway/locks"
)

const (
	recordHead    = "causeway-lock-record 1 "
	goneHead      = "causeway-lock-gone 1 "
	nonceSize     = 26 // of rand.Text
	tombstoneSize = len(goneHead) + nonceSize + 1
	maxBody       = 16 << 20
)

var errFormat = errors.New("not in a format that this program knows")

// encodeRecord returns the body of a record; nil data is a tombstone.
func encodeRecord(data []byte, nonce string) []byte {
	head := recordHead
	if data == nil {
		head = goneHead
	}
	b := make([]byte, 0, len(head)+len(nonce)+1+len(data))
	b = append(append(append(b, head...), nonce...), '\n')
	return append(b, data...)
}

// decodeRecord is the inverse of encodeRecord.
func decodeRecord(body []byte) (data []byte, nonce string, err error) {
	line, rest, ok := bytes.Cut(body, []byte{'\n'})
	if !ok {
		return nil, "", fmt.Errorf("record: %w", errFormat)
	}
	if n, found := bytes.CutPrefix(line, []byte(recordHead)); found && isNonce(n) {
		return append([]byte{}, rest...), string(n), nil
	}
	if n, found := bytes.CutPrefix(line, []byte(goneHead)); found && isNonce(n) && len(rest) == 0 {
		return nil, string(n), nil
	}
	return nil, "", fmt.Errorf("record that begins with %.40q: %w", line, errFormat)
}

func isNonce(b []byte) bool {
	return len(b) == nonceSize && !slices.ContainsFunc(b, func(c byte) bool {
		return !(c >= 'A' && c <= 'Z' || c >= '2' && c <= '7')
	})
}

// The states of a session.
const (
	alive = "alive"
	ended = "ended"
)

// maxWanted bounds the wishes that a session has at a time; they are hints.
const maxWanted = 256

// sessionBody is the body of a session's object.
type sessionBody struct {
	Version int             `json:"version"`
	ID      locks.SessionID `json:"id"`
	Nonce   string          `json:"nonce"`
	Beat    uint64          `json:"beat"`
	TTL     int64           `json:"ttl_ms"`
	State   string          `json:"state"`
	Host    string          `json:"host,omitempty"`
	PID     int             `json:"pid,omitempty"`
	Mount   string          `json:"mount,omitempty"`
	Wanted  []string        `json:"wanted,omitempty"`
}

func (s sessionBody) ttl() time.Duration { return time.Duration(s.TTL) * time.Millisecond }

// want adds a wish.
func (s sessionBody) want(key string) sessionBody {
	if slices.Contains(s.Wanted, key) || len(s.Wanted) >= maxWanted {
		return s
	}
	s.Wanted = append(slices.Clip(s.Wanted), key)
	return s
}

// encode returns the body with a new nonce.
func (s sessionBody) encode() ([]byte, error) {
	s.Version, s.Nonce = 1, rand.Text()
	return json.Marshal(s)
}

func decodeSession(body []byte) (sessionBody, error) {
	var s sessionBody
	switch err := json.Unmarshal(body, &s); {
	case err != nil:
		return sessionBody{}, fmt.Errorf("session: %w: %w", errFormat, err)
	case s.Version != 1, s.ID == "", s.TTL <= 0 || s.TTL > int64(24*time.Hour/time.Millisecond), s.State != alive && s.State != ended:
		return sessionBody{}, fmt.Errorf("session of version %d: %w", s.Version, errFormat)
	}
	return s, nil
}
