import {
  ILabShell,
  ILayoutRestorer,
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { LabIcon } from '@jupyterlab/ui-components';

import { Api } from './api';
import { Run } from './generated/documents';
import { Model, Tab } from './model';
import { FrontNotebook } from './notebook';
import { Panel } from './panel';

const ID = 'mlops-nb:plugin';
const OPEN = 'mlops-nb:open';
const RUN = 'mlops-nb:run-notebook';
const TAG = 'mlops-nb:tag-parameters';

const icon = new LabIcon({
  name: 'mlops-nb:panel',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24">' +
    '<g class="jp-icon3" fill="#616161">' +
    '<path d="M3 4h7v2H5v12h5v2H3zM21 4h-7v2h5v12h-5v2h7z"/>' +
    '<path d="M8 12l3 3 5-6-1.500-1.200L11 12.100 9.300 10.600z"/></g></svg>'
});

const plugin: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: 'Run, judge, register and deploy the notebook in front.',
  autoStart: true,
  requires: [INotebookTracker, IDocumentManager],
  optional: [
    IRenderMimeRegistry,
    ISettingRegistry,
    ITranslator,
    IStateDB,
    ILayoutRestorer,
    ICommandPalette,
    ILauncher,
    IFileBrowserFactory,
    ILabShell
  ],
  activate
};

function activate(
  app: JupyterFrontEnd,
  notebooks: INotebookTracker,
  documents: IDocumentManager,
  rendermime: IRenderMimeRegistry | null,
  settings: ISettingRegistry | null,
  translator: ITranslator | null,
  state: IStateDB | null,
  restorer: ILayoutRestorer | null,
  palette: ICommandPalette | null,
  launcher: ILauncher | null,
  browsers: IFileBrowserFactory | null
): void {
  const trans = (translator ?? nullTranslator).load('mlops_nb');
  const front = new FrontNotebook(app, notebooks);
  const api = new Api(app.serviceManager.serverSettings);
  const model = Model.of(api, front, state, app.serviceManager);

  const openNotebook = async (run: Run): Promise<void> => {
    const found = await api.resource(run.id, model.path);
    const path = found.path ?? (await copied(app, model.path, run, found.content));
    const widget = documents.openOrReveal(path) as NotebookPanel | undefined;
    if (!widget || found.cell === null) {
      return;
    }
    await widget.context.ready;
    await widget.revealed;
    widget.content.activeCellIndex = found.cell;
    const cell = widget.content.widgets[found.cell];
    if (cell) {
      await widget.content.scrollToCell(cell, 'center');
    }
  };
  const newNotebook = app.commands.hasCommand('notebook:create-new')
    ? () => void app.commands.execute('notebook:create-new')
    : undefined;

  const panel = new Panel({ model, trans, rendermime, openNotebook, newNotebook });
  panel.title.icon = icon;
  app.shell.add(panel, 'right', { rank: 600, type: 'MLOps' });
  restorer?.add(panel, panel.id);
  if (settings) {
    void settings
      .load(ID)
      .then(found => {
        // Where it was put by hand, it stays; only a wish for the left is followed.
        if (found.get('side').composite === 'left') {
          app.shell.add(panel, 'left', { rank: 600, type: 'MLOps' });
        }
      })
      .catch(reason => console.error(`${ID}: its settings cannot be read`, reason));
  }

  const { commands } = app;
  commands.addCommand(OPEN, {
    label: trans.__('MLOps panel'),
    caption: trans.__('Runs, models and deployments'),
    icon,
    describedBy: { args: { type: 'object', properties: { tab: { type: 'string' } } } },
    execute: args => {
      if (args.tab) {
        model.show(args.tab as Tab);
      }
      app.shell.activateById(panel.id);
    }
  });
  commands.addCommand(RUN, {
    label: trans.__('Run with parameters'),
    caption: trans.__('Run this notebook with parameters, here or on a cluster'),
    icon,
    execute: async () => {
      const item = browsers?.tracker.currentWidget?.selectedItems().next().value;
      if (item?.type === 'notebook' && !front.path.endsWith(item.path)) {
        documents.openOrReveal(item.path);
      }
      await commands.execute(OPEN, { tab: 'run' });
    }
  });
  commands.addCommand(TAG, {
    label: trans.__('Tag cell as parameters'),
    caption: trans.__('Values of this cell can be set from outside'),
    icon,
    isEnabled: () => front.canTag,
    execute: async () => {
      await front.tagCell();
      await model.readNotebook();
    }
  });
  for (const command of [OPEN, RUN, TAG]) {
    palette?.addItem({ command, category: 'MLOps' });
  }
  launcher?.add({ command: OPEN, category: trans.__('Other'), rank: 10 });
}

/** Save an executed notebook, which lies where JupyterLab shows nothing, beside its own. */
async function copied(
  app: JupyterFrontEnd,
  beside: string,
  run: Run,
  content: Record<string, unknown>
): Promise<string> {
  const path = PathExt.join(PathExt.dirname(beside), `${run.id}.executed.ipynb`);
  const saved = await app.serviceManager.contents.save(path, {
    type: 'notebook',
    format: 'json',
    content
  });
  return saved.path;
}

export default plugin;
