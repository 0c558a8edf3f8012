#!/usr/bin/env bash
# The npm compiler behind the native compiler's command line, for forge.
here=$(cd "$(dirname "$0")" && pwd)
case "${1:-}" in
  --version) exec node -e "const s=require('$here/node_modules/solc');console.log('solc, the solidity compiler commandline interface\nVersion: '+s.version())" ;;
  *) exec node -e "const s=require('$here/node_modules/solc');let i='';process.stdin.on('data',d=>i+=d).on('end',()=>process.stdout.write(s.compile(i)))" ;;
esac
