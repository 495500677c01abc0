package webdav

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causewayfs/causeway/vfs"
)

// exchange is one request of a recorded sequence, and what must be in the
// answer.
type exchange struct {
	line   string
	header []string
	body   string
	code   string
	parts  []string
}

// parseExchanges reads a sequence: "> " begins a request, with header lines
// and behind an empty line a body; "< " is the status, "? " a part of the
// answer. TOKEN is the last lock token.
func parseExchanges(text string) []exchange {
	var all []exchange
	inBody := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		kind, rest, _ := strings.Cut(line, " ")
		switch last := len(all) - 1; {
		case kind == "#" && !inBody:
		case kind == ">":
			all, inBody = append(all, exchange{line: rest}), false
		case kind == "<":
			all[last].code, inBody = rest, false
		case kind == "?":
			all[last].parts = append(all[last].parts, rest)
		case line == "":
			inBody = true
		case inBody:
			all[last].body += line
		default:
			all[last].header = append(all[last].header, line)
		}
	}
	return all
}

// TestRecordedClients replays what clients send that cannot run here.
func TestRecordedClients(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 2 {
		t.Fatalf("sequences: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorldWith(t, nil, nil, func(o *vfs.Options) { o.StagedOnly = MacNames })
			token := ""
			for _, e := range parseExchanges(string(text)) {
				a := w.replay(e, token)
				if !strings.HasPrefix(a, "HTTP/1.1 "+e.code+" ") {
					t.Fatalf("%s: got %s, want %s", e.line, short(a), e.code)
				}
				for _, part := range e.parts {
					if !strings.Contains(strings.ToLower(a), strings.ToLower(part)) {
						t.Errorf("%s: got %s, want %s", e.line, a, part)
					}
				}
				if _, rest, ok := strings.Cut(a, "Lock-Token: <"); ok {
					token, _, _ = strings.Cut(rest, ">")
				}
			}
		})
	}
}

// replay sends one request as it was recorded, byte for byte.
func (w *world) replay(e exchange, token string) string {
	fill := strings.NewReplacer("TOKEN", token, "URL", w.url)
	host := strings.TrimPrefix(w.url, "http://")
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", e.line, host)
	chunked, length := false, false
	for _, h := range e.header {
		chunked = chunked || strings.HasPrefix(h, "Transfer-Encoding")
		length = length || strings.HasPrefix(h, "Content-Length")
		b.WriteString(fill.Replace(h) + "\r\n")
	}
	switch {
	case chunked:
		fmt.Fprintf(&b, "\r\n%x\r\n%s\r\n0\r\n\r\n", len(e.body), e.body)
	case length:
		b.WriteString("\r\n")
	default:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(e.body), e.body)
	}
	return w.raw(b.String(), false)
}
