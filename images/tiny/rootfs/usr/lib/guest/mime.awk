# Takes a MIME message apart: N.head of its part N holds type, encoding and file name, N.body the text.
function fields(line,  name, text) {
    name = line; sub(/:.*/, "", name); name = tolower(name)
    text = line; sub(/^[^:]*:[ \t]*/, "", text)
    if (name == "content-type") { type = tolower(text); sub(/[; \t].*/, "", type); mark = parameter(text, "boundary") }
    if (name == "content-transfer-encoding") { encoding = tolower(text); sub(/[ \t;].*/, "", encoding) }
    if (name == "content-disposition") title = parameter(text, "filename")
}
function parameter(text, name,  at) {
    at = match(tolower(text), "[; \t]" name "[ \t]*=[ \t]*")
    if (!at) return ""
    text = substr(text, at + RLENGTH)
    if (substr(text, 1, 1) == "\"") { text = substr(text, 2); sub(/".*/, "", text) }
    else sub(/[; \t].*/, "", text)
    return text
}
function header(line) {
    if (line ~ /^[ \t]/) { held = held line; return }
    if (held != "") fields(held)
    held = line
}
function begin() { part++; state = "head"; held = type = encoding = title = mark = ""; begun = 0 }
# A part that is a message itself keeps its head, in which its parts' boundary stands.
function body() {
    if (held != "") fields(held)
    if (type == "") type = "text/plain"
    gsub(/[^-A-Za-z0-9._ ]/, "?", title)
    print type "\n" encoding "\n" title > (folder "/" part ".head")
    printf "" > (folder "/" part ".body")
    if (type ~ /^multipart\//) { printf "Content-Type: %s; boundary=\"%s\"\n\n", type, mark > (folder "/" part ".body") }
    state = "body"
}
function end() {
    if (state == "head") body()
    if (state == "body") { close(folder "/" part ".head"); close(folder "/" part ".body") }
}
BEGIN { state = "top" }
{ line = $0; bare = line; sub(/\r$/, "", bare) }
state == "top" {
    if (bare != "") { header(bare); next }
    if (held != "") fields(held)
    boundary = mark
    if (type !~ /^multipart\// || boundary == "") exit 1
    state = "before"; next
}
{ seen = bare; sub(/[ \t]+$/, "", seen) }
seen == "--" boundary "--" { end(); state = "after"; exit }
seen == "--" boundary { end(); begin(); next }
state == "head" { if (bare == "") body(); else header(bare); next }
# The line's end before a boundary is the boundary's.
state == "body" { printf "%s%s", (begun ? "\n" : ""), (encoding == "" || encoding == "7bit" || encoding == "8bit" ? bare : line) > (folder "/" part ".body"); begun = 1 }
END { if (state == "after") exit 0; if (state != "top") end(); exit 1 }
