package status

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Entry is what a gateway leaves in the runtime directory.
type Entry struct {
	Mountpoint string `json:"mountpoint,omitempty"`
	Bucket     string `json:"bucket"`
	StateDir   string `json:"state_dir"`
	Socket     string `json:"socket"`
	PID        int    `json:"pid"`

	file string // where it was read from
}

// ErrNotRunning is returned when no gateway answers.
var ErrNotRunning = errors.New("no gateway answers")

// entryName names the entry of the gateway with stateDir: one gateway owns a
// state directory, so entries do not collide.
func entryName(stateDir string) string {
	sum := sha256.Sum256([]byte(stateDir))
	return hex.EncodeToString(sum[:8])
}

// Register writes e into runtimeDir, which is made if needed, and returns a
// function that takes it away again.
func Register(runtimeDir string, e Entry) (remove func(), err error) {
	if err := os.MkdirAll(runtimeDir, 0o700); err != nil {
		return nil, fmt.Errorf("register the gateway: %w", err)
	}
	data, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("register the gateway: %w", err)
	}
	path := filepath.Join(runtimeDir, entryName(e.StateDir)+".json")
	// By way of a rename, so that nobody reads half an entry.
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return nil, fmt.Errorf("register the gateway: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return nil, fmt.Errorf("register the gateway: %w", err)
	}
	return func() { os.Remove(path) }, nil
}

// Entries returns what is registered in the runtime directories, sorted by
// mount point. A directory that is not there holds nothing; entries that
// cannot be read are passed over.
func Entries(runtimeDirs ...string) []Entry {
	var found []Entry
	for _, dir := range runtimeDirs {
		names, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil {
			continue
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				continue
			}
			e := Entry{file: name}
			if json.Unmarshal(data, &e) == nil && e.Socket != "" {
				found = append(found, e)
			}
		}
	}
	slices.SortFunc(found, func(a, b Entry) int {
		return strings.Compare(a.Mountpoint+"\x00"+a.StateDir, b.Mountpoint+"\x00"+b.StateDir)
	})
	return found
}

// Fetch asks the gateway of e for its Report. The error is ErrNotRunning when
// there is none any more; the entry is removed then.
func Fetch(ctx context.Context, e Entry) (Report, error) {
	r, err := fetchSocket(ctx, e.Socket)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		if e.file != "" {
			os.Remove(e.file)
		}
		return Report{}, ErrNotRunning
	}
	return r, err
}

// fetchTimeout bounds one question to a gateway that accepts but is stuck.
const fetchTimeout = 10 * time.Second

// socketClient sends every request to a control socket.
func socketClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
}

func fetchSocket(ctx context.Context, socket string) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	client := socketClient(socket)
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://causeway/status", nil)
	if err != nil {
		return Report{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return Report{}, fmt.Errorf("ask the gateway on %s: %w", socket, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Report{}, fmt.Errorf("ask the gateway on %s: it answers %s", socket, resp.Status)
	}
	var r Report
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		return Report{}, fmt.Errorf("read the answer of the gateway on %s: %w", socket, err)
	}
	return r, nil
}
