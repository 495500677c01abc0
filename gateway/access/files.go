package access

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sys/unix"
)

// maxPassword is all that bcrypt looks at, in bytes.
const maxPassword = 72

// SetPassword writes the user with a password into the htpasswd file, which is
// made if it is not there, in place of what it had for the user.
func SetPassword(file, user, password string) error {
	return setPassword(file, user, password, bcrypt.DefaultCost)
}

func setPassword(file, user, password string, cost int) error {
	switch {
	case password == "":
		return errors.New("the password is empty")
	case len(password) > maxPassword:
		return fmt.Errorf("the password has more than %d bytes, which is all that bcrypt looks at", maxPassword)
	}
	if err := checkUser(user); err != nil {
		return err
	}
	return rewrite(file, func(old []byte) ([]byte, error) {
		if _, err := parsePasswords(file, old); err != nil {
			return nil, err
		}
		hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
		if err != nil {
			return nil, err
		}
		return withoutUser(old, user, user+":"+string(hash)), nil
	})
}

// AddToken writes another token for the user into the file, and returns it. It is
// nowhere else.
func AddToken(file, user string) (string, error) {
	token, line, err := NewToken(user)
	if err != nil {
		return "", err
	}
	return token, rewrite(file, func(old []byte) ([]byte, error) {
		if _, err := parseTokens(file, old); err != nil {
			return nil, err
		}
		return fmt.Appendf(ended(old), "%s\n", line), nil
	})
}

// withoutUser puts line where the user's is, or at the end.
func withoutUser(old []byte, user, line string) []byte {
	var text []byte
	done := false
	for raw := range bytes.Lines(old) {
		if name, _, _ := strings.Cut(strings.TrimSpace(string(raw)), ":"); name == user {
			raw, done = []byte(line+"\n"), true
		}
		text = append(text, raw...)
	}
	if !done {
		text = fmt.Appendf(ended(text), "%s\n", line)
	}
	return text
}

// ended returns text with its last line ended.
func ended(text []byte) []byte {
	if len(text) > 0 && text[len(text)-1] != '\n' {
		return append(text, '\n')
	}
	return text
}

// rewrite replaces a file in one step, readable by its owner only. Two of these
// at once take turns.
func rewrite(file string, change func(old []byte) ([]byte, error)) error {
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir.Name(), err)
	}
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := change(old)
	if err != nil {
		return err
	}
	return replace(file, dir, text)
}

func replace(file string, dir *os.File, text []byte) error {
	f, err := os.CreateTemp(dir.Name(), ".causeway-*") // its mode is 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it has another name if all went well
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err == nil {
		err = dir.Sync()
	}
	return err
}
