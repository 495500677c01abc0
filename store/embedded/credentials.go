package embedded

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/versity/versitygw/auth"

	"github.com/causewayfs/causeway/store/s3"
)

// savedCredentials is the content of the credentials file.
type savedCredentials struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
}

// loadCredentials reads the file at path, or creates it with random keys. Only
// its owner can read it.
func loadCredentials(path string) (s3.Credentials, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createCredentials(path)
	}
	if err != nil {
		return s3.Credentials{}, fmt.Errorf("read credentials: %w", err)
	}
	var saved savedCredentials
	if err := json.Unmarshal(text, &saved); err != nil {
		return s3.Credentials{}, fmt.Errorf("read credentials %s: %w", path, err)
	}
	if saved.AccessKeyID == "" || saved.SecretAccessKey == "" {
		return s3.Credentials{}, fmt.Errorf("read credentials %s: a key is empty", path)
	}
	return s3.Credentials{AccessKeyID: saved.AccessKeyID, SecretAccessKey: saved.SecretAccessKey}, nil
}

func createCredentials(path string) (s3.Credentials, error) {
	saved := savedCredentials{AccessKeyID: "CAUSEWAY" + rand.Text()[:12], SecretAccessKey: rand.Text() + rand.Text()[:14]}
	text, err := json.Marshal(saved)
	if err != nil {
		return s3.Credentials{}, err
	}
	// A file that is named only when it is whole: a crash leaves no half one.
	tmp, err := os.CreateTemp(filepath.Dir(path), ".credentials-*") // 0600
	if err != nil {
		return s3.Credentials{}, fmt.Errorf("create credentials: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(append(text, '\n'))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return s3.Credentials{}, fmt.Errorf("create credentials: %w", err)
	}
	// Link fails if another process was first, whose keys then count.
	if err := os.Link(tmp.Name(), path); errors.Is(err, fs.ErrExist) {
		return loadCredentials(path)
	} else if err != nil {
		return s3.Credentials{}, fmt.Errorf("create credentials: %w", err)
	}
	return s3.Credentials{AccessKeyID: saved.AccessKeyID, SecretAccessKey: saved.SecretAccessKey}, nil
}

// accounts knows the root account only. The library's own service for that
// answers 404 to unknown keys, which a HEAD cannot tell from an absent object;
// this one makes it 403.
type accounts struct {
	auth.IAMService
	root auth.Account
}

func newAccounts(creds s3.Credentials) accounts {
	root := auth.Account{Access: creds.AccessKeyID, Secret: creds.SecretAccessKey, Role: auth.RoleAdmin}
	return accounts{auth.NewIAMServiceSingle(root), root}
}

// GetUserAccount implements [auth.IAMService].
func (a accounts) GetUserAccount(access string) (auth.Account, error) {
	if access != a.root.Access {
		return auth.Account{}, auth.ErrNoSuchUser
	}
	return a.root, nil
}
