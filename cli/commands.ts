/** What the command line asks for, done. */
import { asMigrationError } from '../shared/errors.js';
import { agentCommand } from './agent.js';
import { checkCommand } from './check.js';
import { decideCommand } from './decide.js';
import { demoCommand } from './demo/demo.js';
import { migrateCommand } from './migrate.js';
import { runCommandLine } from './program.js';
import { printSecret } from './secret.js';
import { statusCommand } from './status.js';
import { tellFailure, terminal } from './terminal.js';

const here = terminal();
let task: string | null = null;
try {
  process.exitCode = await runCommandLine(process.argv.slice(2), {
    migrate: (request) => migrateCommand(request, here),
    agent: (request) => {
      task = 'starting the agent';
      return agentCommand(request, here);
    },
    check: (request) => checkCommand(request, here),
    status: (request) => {
      task = 'listing migrations';
      return statusCommand(request, here);
    },
    decide: (request) => decideCommand(request, here),
    secret: async () => {
      printSecret(here.out);
      return 0;
    },
    demo: () => {
      task = 'showing the demo';
      return demoCommand(here);
    },
  });
} catch (error) {
  process.exitCode = tellFailure(asMigrationError(error), task, here);
}
