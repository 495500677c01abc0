package lockfile

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

const pretty = `{
  "holder": "unknown@vm",
  "hostname": "vm",
  "pid": 13829,
  "acquiredAt": "2026-11-21T19:52:13.427Z",
  "ttlMs": 30000,
  "nonce": "211249db-8a4c-4e0e-9d5d-3c2f0b1f9c55"
}`

var when = time.Date(2026, 12, 1, 1, 2, 3, 4e6, time.UTC)

func compact() string {
	return strings.NewReplacer("\n", "", " ", "").Replace(pretty)
}

func TestRewrite(t *testing.T) {
	for _, test := range []struct {
		name, text string
		pid        int
		want       string // empty: ErrNoLock
	}{
		{"pretty", pretty, 13828, strings.NewReplacer("13829", "13828", "2026-11-21T19:52:13.427Z", "2026-12-01T01:02:03.004Z").Replace(pretty)},
		{"shorter", compact(), 1, strings.NewReplacer("13829", "1", "2026-11-21T19:52:13.427Z", "2026-12-01T01:02:03.004Z", `"}`, `"    }`).Replace(compact())},
		{"longer, with space", pretty, 4194304, ""},
		{"longer, without", compact(), 4194304, ""},
		{"other order", `{"acquiredAt":"2026-11-21T19:52:13+01:00","pid":12}`, 7, `{"acquiredAt":"2026-12-01T01:02:03+00:00","pid":7 }`},
		{"line end", "{\"pid\":12,\"acquiredAt\":\"2026-11-21T19:52:13Z\"}\n", 7, "{\"pid\":7,\"acquiredAt\":\"2026-12-01T01:02:03Z\" }\n"},
		{"empty", "", 1, ""},
		{"being written", pretty[:40], 1, ""},
		{"something else", "12", 1, ""},
		{"no time", `{"pid":12}`, 1, ""},
		{"a name twice", `{"pid":12,"pid":13,"acquiredAt":"2026-11-21T19:52:13Z"}`, 1, ""},
		{"below", `{"a":{"pid":12,"acquiredAt":"2026-11-21T19:52:13Z"}}`, 1, ""},
		{"more behind", `{"pid":12,"acquiredAt":"2026-11-21T19:52:13Z"}{}`, 1, ""},
	} {
		got, err := Rewrite([]byte(test.text), test.pid, when)
		if strings.HasPrefix(test.name, "longer, with space") {
			if err != nil || len(got) != len(test.text) {
				t.Errorf("%s: %q, %v", test.name, got, err)
			}
			if r, err := Parse(got); err != nil || r.PID != test.pid {
				t.Errorf("%s: %+v, %v", test.name, r, err)
			}
			continue
		}
		if (err != nil) != (test.want == "") || string(got) != test.want {
			t.Errorf("%s: %q, %v; want %q", test.name, got, err, test.want)
		}
	}
}

func TestParse(t *testing.T) {
	r, err := Parse([]byte(pretty))
	want := Record{13829, time.Date(2026, 11, 21, 19, 52, 13, 427e6, time.UTC), 30 * time.Second}
	if err != nil || r != want {
		t.Errorf("%+v, %v; want %+v", r, err, want)
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add([]byte(pretty), 1)
	f.Add([]byte(compact()), 4194304)
	f.Add([]byte(`{"acquiredAt":"2026-11-21T19:52:13.1+01:00","pid":12,"x":[1,{"pid":2}]} `), 12)
	f.Fuzz(func(t *testing.T, text []byte, pid int) {
		if pid <= 0 {
			return
		}
		got, err := Rewrite(text, pid, when)
		if err != nil {
			return
		}
		if len(got) != len(text) {
			t.Fatalf("%d bytes of %d", len(got), len(text))
		}
		r, err := Parse(got)
		if err != nil || r.PID != pid || r.AcquiredAt.Sub(when).Abs() >= time.Second {
			t.Fatalf("%q becomes %q: %+v, %v", text, got, r, err)
		}
		var was, is map[string]json.RawMessage
		if json.Unmarshal(text, &was) != nil || json.Unmarshal(got, &is) != nil || len(was) != len(is) {
			t.Fatalf("%q becomes %q", text, got)
		}
		for k, v := range was {
			if k != "pid" && k != "acquiredAt" && fmt.Sprint(decode(v)) != fmt.Sprint(decode(is[k])) {
				t.Fatalf("%s: %s becomes %s", k, v, is[k])
			}
		}
	})
}

func decode(raw json.RawMessage) (v any) {
	_ = json.Unmarshal(raw, &v)
	return v
}
